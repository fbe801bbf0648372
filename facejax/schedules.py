"""Learning rates and momenta as functions of the step: optax schedules, for use inside or outside jit.

Steps are counted in integers, and divided as floating-point numbers of the default type, which x64 mode widens.
"""

import jax.numpy as jnp
import optax


def warmup_cosine(peak: float, *, warmup_epochs: int, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Linear warm-up by iteration, then a cosine that stays constant within an epoch.

    Step i (0-based) of the warm-up has peak * (i + 1) / (number of warm-up steps); epoch e after it has
    peak * (1 + cos(pi (e - warmup_epochs) / (epochs - warmup_epochs))) / 2. The last epoch is therefore above 0.

    Examples:
      >>> rate = warmup_cosine(1.0, warmup_epochs=1, epochs=3, steps_per_epoch=4)
      >>> [round(float(rate(step)), 3) for step in (0, 3, 4, 7, 8)]
      [0.25, 1.0, 1.0, 1.0, 0.5]
    """
    warmup_steps = warmup_epochs * steps_per_epoch

    def schedule(step):
        step = jnp.asarray(step, float)
        progress = (step // steps_per_epoch - warmup_epochs) / max(epochs - warmup_epochs, 1)
        cosine = (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1))) / 2
        return peak * jnp.where(step < warmup_steps, (step + 1) / max(warmup_steps, 1), cosine)

    return schedule


def warmup_cosine_to(peak: float, end: float, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear from 0 to `peak` in the last step of the warm-up, then a cosine by iteration to `end` (DINO).

    Examples:
      >>> rate = warmup_cosine_to(1.0, 0.0, warmup_steps=3, total_steps=7)
      >>> [round(float(rate(step)), 3) for step in (0, 1, 2, 3, 5)]
      [0.0, 0.5, 1.0, 1.0, 0.5]
    """
    falling = cosine(peak, end, total_steps=total_steps - warmup_steps)
    return _rising_then(falling, warmup_steps, peak, rising_steps=warmup_steps - 1)


def warmup_into_cosine(peak: float, end: float, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear from 0 to `peak` in a single step, then a cosine by iteration towards `end` (FRA's fine-tuning).

    Step i has peak * i / W up to W, the number of warm-up steps, where a cosine begins that would reach `end` one
    step after the last.

    Examples:
      >>> rate = warmup_into_cosine(1.0, 0.0, warmup_steps=2, total_steps=6)
      >>> [round(float(rate(step)), 3) for step in range(6)]
      [0.0, 0.5, 1.0, 0.854, 0.5, 0.146]
    """
    falling = cosine(peak, end, total_steps=total_steps - warmup_steps)
    return _rising_then(falling, warmup_steps, peak, rising_steps=warmup_steps)


def warmup_then_cosine(peak: float, end: float, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear from 0 to `peak` in two steps, then a cosine by iteration towards `end` (LAFS' fine-tuning).

    Step i has peak * i / W up to W, the number of warm-up steps; then the cosine begins again at `peak` and would
    reach `end` one step after the last: PyTorch's `CosineAnnealingLR` behind a `GradualWarmupScheduler`.

    Examples:
      >>> rate = warmup_then_cosine(1.0, 0.0, warmup_steps=2, total_steps=6)
      >>> [round(float(rate(step)), 3) for step in range(6)]
      [0.0, 0.5, 1.0, 1.0, 0.854, 0.5]
    """
    falling = cosine(peak, end, total_steps=total_steps - warmup_steps)
    if not warmup_steps:
        return falling
    return _rising_then(falling, warmup_steps + 1, peak, rising_steps=warmup_steps)


def _rising_then(falling: optax.Schedule, start: int, peak: float, *, rising_steps: int) -> optax.Schedule:
    """Linear from 0, with `peak` after `rising_steps`; the other schedule begins at step `start`."""

    def schedule(step):
        step = jnp.asarray(step, float)
        return jnp.where(step < start, peak * step / max(rising_steps, 1), falling(step - start))

    return schedule


def linear_by_epoch(start: float, end: float, *, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Linear from `start` in the first epoch to `end` in the last of `epochs`, constant within an epoch and afterwards.

    Examples:
      >>> temperature = linear_by_epoch(0.07, 0.04, epochs=3, steps_per_epoch=2)
      >>> [round(float(temperature(step)), 3) for step in (0, 1, 2, 4, 9)]
      [0.07, 0.07, 0.055, 0.04, 0.04]
    """

    def schedule(step):
        step = jnp.asarray(step, float)
        return start + (end - start) * jnp.clip(step // steps_per_epoch / max(epochs - 1, 1), 0, 1)

    return schedule


def cosine(start: float, end: float, *, total_steps: int) -> optax.Schedule:
    """From `start` at step 0 along half a cosine to `end` at the step after the last.

    Examples:
      >>> decay = cosine(0.04, 0.4, total_steps=10)
      >>> [round(float(decay(step)), 3) for step in (0, 5, 10)]
      [0.04, 0.22, 0.4]
    """

    def schedule(step):
        step = jnp.asarray(step, float)
        return end + (start - end) * (1 + jnp.cos(jnp.pi * step / total_steps)) / 2

    return schedule


def cosine_momentum(base: float, *, total_steps: int) -> optax.Schedule:
    """Momentum of a target network: `base` at step 0, rising to 1 along half a cosine (BYOL, appendix J).

    Examples:
      >>> momentum = cosine_momentum(0.996, total_steps=10)
      >>> [round(float(momentum(step)), 4) for step in (0, 5, 10)]
      [0.996, 0.998, 1.0]
    """

    return cosine(base, 1.0, total_steps=total_steps)
