"""Scaled dot-product attention, shared by all transformers here."""

import jax
import jax.numpy as jnp

from facejax.models.precision import wide


def attend(query, key, value, *, scale: float, drop=lambda weights: weights):
    """Multi-head attention (Vaswani et al., arXiv:1706.03762, equation 1), with the softmax in float32 at least.

    `jax.nn.dot_product_attention` does the same but rounds float64 to float32; `nn.dot_product_attention` rounds logits
    to bfloat16 before the softmax, and returns no weights.

    Args:
      query: [B, Q, H, D].
      key: [B, K, H, D].
      value: [B, K, H, D].
      scale: factor on the logits.
      drop: dropout of the weights.

    Returns:
      Attended values [B, Q, H, D], of the type of `value`, and the weights [B, H, Q, K] before dropout.
    """
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=wide(query.dtype))
    weights = jax.nn.softmax(scale * logits)
    return jnp.einsum("bhqk,bkhd->bqhd", drop(weights).astype(value.dtype), value), weights
