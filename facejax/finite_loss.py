"""A loss that is not finite ends a run, before a checkpoint is written of what came out of it."""

import math

import jax

from facejax.errors import UserError


class FiniteLoss:
    """Looks at the loss of every step, one step late, so that the device never waits for the look.

    Args:
      checkpoints: the run's `Checkpoints`, for the message.
    """

    def __init__(self, checkpoints):
        self._checkpoints = checkpoints
        self._pending = None

    def check_previous(self, step: int, loss: jax.Array) -> None:
        """Keeps the loss of `step` and checks the one kept before.

        Raises:
          UserError: it is not finite.
        """
        self.check_now()
        self._pending = step, loss

    def check_now(self) -> None:
        """Checks the loss that is kept; before a save, so that no checkpoint holds what came out of a bad step."""
        if self._pending is None:
            return
        (step, loss), self._pending = self._pending, None
        if not math.isfinite(float(loss)):
            self._checkpoints.wait()
            good = self._checkpoints.newest
            last = (
                f"the last good checkpoint is step {good} in {self._checkpoints.folder}"
                if good
                else "no checkpoint yet"
            )
            raise UserError(
                f"the loss of step {step} is {float(loss)}; {last}; a lower config.optimizer.learning_rate, or "
                "config.dtype='float32', is what to try first"
            )
