"""Features with mean 0 and variance 1 for the probes: one range of penalties then suits all features and encoders."""

import jax
import jax.numpy as jnp


@jax.jit
def standardize(train, *others):
    """Shift and scale every feature so that it has mean 0 and variance 1 on the training split.

    A feature that is constant there (to 6 digits) is only shifted, so its rounding noise is not amplified.

    Args:
      train: [n, D] features, from which mean and variance are computed.
      *others: [m, D] features of other splits, transformed in the same way.

    Returns:
      A tuple of float32 arrays: train and the others.
    """
    train = jnp.asarray(train, jnp.float32)
    origin = train[0]  # sums of differences from one image are exact where sums of large values are not
    shifted = train - origin
    mean = shifted.mean(0)
    deviation = jnp.sqrt(jnp.square(shifted - mean).mean(0))
    scale = jnp.where(deviation > 1e-6 * jnp.abs(origin + mean), deviation, 1)
    return tuple((jnp.asarray(split, jnp.float32) - origin - mean) / scale for split in (train, *others))
