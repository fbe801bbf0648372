"""Signs of collapse, cheap enough for every step: 1 is healthy, 0 is collapsed."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def embedding_spread(embeddings: Float[ArrayLike, "N D"]) -> Float[Array, ""]:
    """Mean standard deviation of unit embeddings [N, D] times sqrt(D): 1 if spread out, 0 if all are equal."""
    unit = embeddings / jnp.maximum(jnp.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
    return unit.std(0).mean() * math.sqrt(embeddings.shape[-1])


def assignment_entropy(logits: Float[ArrayLike, "*cells Q"]) -> Float[Array, ""]:
    """Entropy of the mean assignment of cells [..., Q] divided by log Q: 1 if all are used equally."""
    usage = jax.nn.softmax(logits).reshape(-1, logits.shape[-1]).mean(0)
    return jax.scipy.special.entr(usage).sum() / math.log(logits.shape[-1])
