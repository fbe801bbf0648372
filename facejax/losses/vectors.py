"""Products and directions of vectors, in full float32 and well defined for the zero vector."""

import jax
import jax.numpy as jnp


def einsum(formula: str, *arrays: jax.Array) -> jax.Array:
    """`jnp.einsum` in true float32: by default TPUs and recent GPUs round the factors of a product."""
    return jnp.einsum(formula, *arrays, precision=jax.lax.Precision.HIGHEST)


def inverse_norm(squared_norm: jax.Array) -> jax.Array:
    """1/|x| from |x|², and 0 with gradient 0 where |x| is below 1e-12: a zero vector has no direction."""
    positive = squared_norm > 1e-24
    return jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, squared_norm, 1.0)), 0.0)


def unit(x: jax.Array) -> jax.Array:
    """x/|x| along the last axis; a zero vector stays zero and passes no gradient."""
    return x * inverse_norm(jnp.sum(x * x, axis=-1, keepdims=True))
