"""Directions of vectors."""

import jax.numpy as jnp
from jax import lax

from facejax.models.precision import wide


def unit(x):
    """x / |x| along the last axis, with |x| at least 1e-12; the norm is float32 at least."""
    squared = jnp.square(x.astype(wide(x.dtype))).sum(-1, keepdims=True)
    return (x * lax.rsqrt(jnp.maximum(squared, 1e-24))).astype(x.dtype)
