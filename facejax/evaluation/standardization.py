"""Features with mean 0 and variance 1, as the probes want them: one penalty then fits all features and all encoders."""

import jax
import jax.numpy as jnp


@jax.jit
def standardize(train, *others):
    """Shift and scale every feature so that it has mean 0 and variance 1 on the training split.

    A feature that is constant there (to 6 digits) is shifted only: its rounding noise is not blown up.

    Args:
      train: [n, D] features, where mean and variance are taken.
      *others: [m, D] features of other splits, moved in the same way.

    Returns:
      A tuple of float32 arrays: train and the others.
    """
    train = jnp.asarray(train, jnp.float32)
    origin = train[0]  # sums of differences from any one image are exact where sums of large values are not
    shifted = train - origin
    mean = shifted.mean(0)
    deviation = jnp.sqrt(jnp.square(shifted - mean).mean(0))
    scale = jnp.where(deviation > 1e-6 * jnp.abs(origin + mean), deviation, 1)
    return tuple((jnp.asarray(split, jnp.float32) - origin - mean) / scale for split in (train, *others))
