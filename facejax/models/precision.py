"""The type of what must not be computed in bfloat16: means, norms, softmaxes, embeddings."""

import jax.numpy as jnp


def wide(dtype) -> jnp.dtype:
    """float32, or float64 where the computation is: comparisons with official numbers are made in float64."""
    return jnp.promote_types(dtype, jnp.float32)
