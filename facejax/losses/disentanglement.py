"""Losses that keep two parts of a representation apart."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.losses.arguments import as_float
from facejax.losses.vectors import einsum


def orthogonality(a: Float[ArrayLike, "N D"], b: Float[ArrayLike, "N E"]) -> Float[Array, ""]:
    """How much the features of one branch correlate with those of another.

    Both are centered over the batch and each row is divided by its length; the loss is the mean squared entry of
    `a.T @ b`. The length is treated as a constant and passes no gradient.

    Args:
      a: [N, D], features of one branch (PCL: face).
      b: [N, E], features of the same N images from the other branch (PCL: pose; E = D).

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the shapes are not [N, D] and [N, E].
      TypeError: integers instead of floats.

    Source: Liu et al., CVPR 2023, arXiv 2211.13490, the orthogonality loss, as in the official code; Bousmalis et al.,
    "Domain separation networks", NeurIPS 2016, arXiv 1608.06019, equation 5.

    Examples:
      >>> import jax.numpy as jnp
      >>> a = jnp.array([[1.0], [-1.0], [1.0], [-1.0]])
      >>> b = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
      >>> round(float(orthogonality(a, b)), 3)
      0.0
      >>> round(float(orthogonality(a, a)), 3)
      16.0
    """
    a = as_float("a", a, "N, D")
    b = as_float("b", b, "N, E", N=len(a))
    return jnp.mean(einsum("nd,ne->de", _centered_rows(a), _centered_rows(b)) ** 2)


def _centered_rows(x: jax.Array) -> jax.Array:
    x = x - jnp.mean(x, axis=0)
    return x / (jnp.linalg.norm(jax.lax.stop_gradient(x), axis=1, keepdims=True) + 1e-6)
