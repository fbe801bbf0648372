"""Margin softmax for recognition: logits that make the right class harder to reach during training."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Integer

from facejax.losses.arguments import as_float, as_targets
from facejax.losses.vectors import einsum, unit


def cosface(
    embeddings: Float[ArrayLike, "N D"],
    weights: Float[ArrayLike, "C D"],
    labels: Integer[ArrayLike, " N"] | Float[ArrayLike, "N C"],
    scale: float = 64.0,
    margin: float = 0.4,
) -> Float[Array, "N C"]:
    """Logits `scale * (cos - margin)` for the right class, `scale * cos` for the others.

    The loss is the softmax cross-entropy of these logits. A soft label gets its fraction of the margin.

    Args:
      embeddings: [N, D]. Need not be normalised.
      weights: [C, D], one row for each class. Need not be normalised.
      labels: integer [N], or soft [N, C] (mixup, label smoothing).
      scale: factor on the logits.
      margin: subtracted from the cosine.

    Returns:
      Float32 logits [N, C].

    Raises:
      ValueError: a shape differs from the above, or a label is out of range. Under `jax.jit`, where labels are unknown,
        the logits of such an example are NaN instead.
      TypeError: labels [N] that are not integers, or integers instead of floats.

    Source: Wang et al., "CosFace: large margin cosine loss for deep face recognition", CVPR 2018, arXiv 1801.09414,
    equation 4.

    Examples:
      >>> import jax.numpy as jnp
      >>> cosface(jnp.array([[3.0, 0.0]]), jnp.eye(2), jnp.array([0]))
      Array([[38.4,  0. ]], dtype=float32)
    """
    cosine, target = _cosines_and_targets(embeddings, weights, labels)
    return scale * (cosine - margin * target)


def arcface(
    embeddings: Float[ArrayLike, "N D"],
    weights: Float[ArrayLike, "C D"],
    labels: Integer[ArrayLike, " N"] | Float[ArrayLike, "N C"],
    scale: float = 64.0,
    margin: float = 0.5,
) -> Float[Array, "N C"]:
    """Logits `scale * cos(angle + margin)` for the right class, `scale * cos(angle)` for the others.

    The loss is the softmax cross-entropy of these logits. A soft label y gives `y cos(angle + margin) +
    (1 - y) cos(angle)`. Where angle + margin would pass pi, where the cosine rises again, the right class gets
    `cos(angle) - margin sin(margin)` instead, as in the official code, so the logit still decreases with the angle.

    The gradient is finite at angles 0 and pi too: within about 1e-3 of them the sine is replaced by a multiple of its
    square, which changes logits by less than 3e-4 of the scale.

    Args:
      embeddings: [N, D]. Need not be normalised.
      weights: [C, D], one row for each class. Need not be normalised.
      labels: integer [N], or soft [N, C] (mixup, label smoothing).
      scale: factor on the logits.
      margin: added to the angle, in radians.

    Returns:
      Float32 logits [N, C].

    Raises:
      ValueError: a shape differs from the above, or a label is out of range. Under `jax.jit`, where labels are unknown,
        the logits of such an example are NaN instead.
      TypeError: labels [N] that are not integers, or integers instead of floats.

    Source: Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019,
    arXiv 1801.07698, equation 3.

    Examples:
      >>> import jax.numpy as jnp
      >>> logits = arcface(jnp.array([[3.0, 0.0]]), jnp.eye(2), jnp.array([0]))
      >>> [round(float(x), 3) for x in logits[0]]  # 64 cos(0.5), 64 cos(pi / 2)
      [56.165, 0.0]
    """
    cosine, target = _cosines_and_targets(embeddings, weights, labels)
    squared_sine = jnp.maximum((1 - cosine) * (1 + cosine), 0)
    # The slope of the root is infinite at 0; a straight line through 0 replaces it below 1e-6.
    root = squared_sine > 1e-6
    sine = jnp.where(root, jnp.sqrt(jnp.where(root, squared_sine, 1)), 1e3 * squared_sine)
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    moved = jnp.where(cosine > -math.cos(margin), moved, cosine - margin * math.sin(margin))
    return scale * (cosine + target * (moved - cosine))


def _cosines_and_targets(embeddings, weights, labels) -> tuple[jax.Array, jax.Array]:
    embeddings = as_float("embeddings", embeddings, "N, D")
    weights = as_float("weights", weights, "C, D", D=embeddings.shape[1])
    cosines = einsum("nd,cd->nc", unit(embeddings), unit(weights))
    return cosines, as_targets("labels", labels, cosines)
