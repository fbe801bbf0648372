"""The type of results that must not be computed in bfloat16: means, norms, softmaxes, embeddings."""

import jax.numpy as jnp


def wide(dtype) -> jnp.dtype:
    """float32, or float64 where the computation is float64, as in comparisons with official numbers."""
    return jnp.promote_types(dtype, jnp.float32)
