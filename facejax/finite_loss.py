"""Ends a run when its loss is not finite, before a checkpoint of the result is written."""

import math

import jax

from facejax.errors import UserError


class FiniteLoss:
    """Checks the loss of every step one step late, so the device never waits for the check.

    Args:
      checkpoints: the run's `Checkpoints`, for the message.
    """

    def __init__(self, checkpoints):
        self._checkpoints = checkpoints
        self._pending = None

    def check_previous(self, step: int, loss: jax.Array) -> None:
        """Stores the loss of `step` and checks the previous one.

        Raises:
          UserError: it is not finite.
        """
        self.check_now()
        self._pending = step, loss

    def check_now(self) -> None:
        """Checks the stored loss; called before a save, so no checkpoint holds the result of a bad step."""
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
                f"the loss of step {step} is {float(loss)}; {last}; try a lower config.optimizer.learning_rate or "
                "config.dtype='float32' first"
            )
