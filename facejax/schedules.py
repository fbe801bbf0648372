"""Learning rates and momenta as functions of the step: optax schedules, to be called inside or outside jit."""

import jax.numpy as jnp
import optax


def warmup_cosine(peak: float, *, warmup_epochs: int, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up by iteration, then a cosine that stays constant within an epoch.

    Step i (0-based) of the warm-up has peak * (i + 1) / (number of warm-up steps); epoch e after it has
    peak * (1 + cos(pi (e - warmup_epochs) / (epochs - warmup_epochs))) / 2. The last epoch is therefore above 0.

    Example:
      >>> rate = warmup_cosine(1.0, warmup_epochs=1, epochs=3, steps_per_epoch=4)
      >>> [round(float(rate(step)), 3) for step in (0, 3, 4, 7, 8)]
      [0.25, 1.0, 1.0, 1.0, 0.5]
    """
    warmup_steps = warmup_epochs * steps_per_epoch

    def schedule(step):
        progress = (step // steps_per_epoch - warmup_epochs) / max(epochs - warmup_epochs, 1)
        cosine = (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1))) / 2
        return peak * jnp.where(step < warmup_steps, (step + 1) / max(warmup_steps, 1), cosine)

    return schedule


def cosine_momentum(base: float, *, total_steps: int) -> optax.Schedule:
    """Momentum of a target network: `base` at step 0, rising to 1 along half a cosine (BYOL, appendix J).

    Example:
      >>> momentum = cosine_momentum(0.996, total_steps=10)
      >>> [round(float(momentum(step)), 4) for step in (0, 5, 10)]
      [0.996, 0.998, 1.0]
    """

    def schedule(step):
        return 1 - (1 - base) * (1 + jnp.cos(jnp.pi * step / total_steps)) / 2

    return schedule
