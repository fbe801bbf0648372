"""Agreement of an online prediction with a target embedding: whole faces (BYOL) and their regions (FRA)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.losses.arguments import as_float
from facejax.losses.vectors import einsum, unit


def byol(prediction: Float[ArrayLike, "N D"], target: Float[ArrayLike, "N D"]) -> Float[Array, ""]:
    """Squared distance of unit vectors, mean over the batch: 2 - 2 cos(prediction, target).

    This is one direction; a symmetric loss adds the other, with the views exchanged.

    Args:
      prediction: [N, D], output of the online network's predictor. Need not be normalised.
      target: [N, D], embedding of the other view by the target network. Passes no gradient.

    Returns:
      A float32 scalar in [0, 4]. A zero vector counts as orthogonal to everything.

    Raises:
      ValueError: the shapes are not [N, D], or differ.
      TypeError: integers instead of floats.

    Source: Grill et al., "Bootstrap your own latent", NeurIPS 2020, arXiv 2006.07733, equation 2.

    Examples:
      >>> import jax.numpy as jnp
      >>> float(byol(jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])))
      1.0
    """
    prediction = as_float("prediction", prediction, "N, D")
    n, d = prediction.shape
    target = as_float("target", target, "N, D", N=n, D=d)
    cosine = jnp.sum(unit(prediction) * unit(jax.lax.stop_gradient(target)), axis=-1)
    return jnp.mean(2 - 2 * cosine)


def region_consistency(
    prediction: Float[ArrayLike, "N Q D"], target: Float[ArrayLike, "N Q D"], decorrelation_weight: float = 0.02
) -> Float[Array, ""]:
    """Region q of one view must agree with region q of the other view, and with no other region.

    The mean over images and regions of `2 - 2 cos(p_q, t_q) + decorrelation_weight * sum_{r != q} cos²(p_q, t_r) / Q`.
    This is one direction; FRA adds the other, with the views exchanged.

    Args:
      prediction: [N, Q, D], predicted embeddings of the Q regions of N images. Need not be normalised.
      target: [N, Q, D], the target network's region embeddings of the other view. Passes no gradient.
      decorrelation_weight: weight of the squared cosines between different regions.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the shapes are not [N, Q, D], or differ.
      TypeError: integers instead of floats.

    Source: Gao & Patras, "Self-Supervised Facial Representation Learning with Facial Region Awareness", CVPR 2024,
    arXiv 2403.02138, the local consistency term, and the official code for the decorrelation.

    Examples:
      >>> import jax.numpy as jnp
      >>> regions = jnp.eye(3)[None]  # one image, three orthogonal regions
      >>> float(region_consistency(regions, regions))
      0.0
      >>> float(region_consistency(regions, regions[:, ::-1], decorrelation_weight=0.0))  # two of three exchanged
      1.3333333730697632
    """
    prediction = as_float("prediction", prediction, "N, Q, D")
    n, q, d = prediction.shape
    target = as_float("target", target, "N, Q, D", N=n, Q=q, D=d)
    cosines = einsum("nqd,nrd->nqr", unit(prediction), unit(jax.lax.stop_gradient(target)))
    same = jnp.eye(q, dtype=bool)
    agreement = 2 - 2 * jnp.sum(jnp.where(same, cosines, 0), axis=-1)
    correlation = jnp.sum(jnp.where(same, 0, cosines) ** 2, axis=-1) / q
    return jnp.mean(agreement + decorrelation_weight * correlation)
