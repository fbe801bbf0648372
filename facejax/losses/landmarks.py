"""Heatmap losses for facial landmarks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.losses.arguments import as_float
from facejax.losses.vectors import einsum


def star(
    heatmaps: Float[ArrayLike, "N P H W"],
    landmarks: Float[ArrayLike, "N P 2"],
    distance: str = "smooth_l1",
    restriction_weight: float = 1.0,
) -> Float[Array, ""]:
    """STAR: errors along the direction in which a landmark is ambiguous count less.

    Each heatmap is normalised to sum 1; its mean is the predicted point. The error is split along the eigenvectors of
    its covariance, each part's distance is divided by `sqrt(eigenvalue + 1e-5)`, and the two are added. So that
    the heatmap does not widen to lower its error, `restriction_weight * (sum of eigenvalues)` is added. Mean over
    points and images.

    The covariance is the unbiased one of a weighted sample. Gradient flows through everything, eigenvectors included;
    where the two eigenvalues agree to 1e-5, any direction is an eigenvector and the axes of the image are used.

    Args:
      heatmaps: [N, P, H, W], non-negative, not normalised; H and W at least 2. Column j is at x = 2j/(W-1) - 1,
        row i at y = 2i/(H-1) - 1.
      landmarks: [N, P, 2], the true (x, y) in [-1, 1].
      distance: "smooth_l1" (quadratic below 0.01), "l1" or "l2" (squared).
      restriction_weight: weight of the sum of eigenvalues.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: a shape differs from the above, or an unknown distance.
      TypeError: integers instead of floats.

    Source: Zhou et al., "STAR loss: reducing semantic ambiguity in facial landmark detection", CVPR 2023,
    arXiv 2306.02763, section 3, with the constants of the official code.

    Examples:
      >>> import jax.numpy as jnp
      >>> heatmaps = jnp.zeros([1, 1, 64, 64]).at[0, 0, 63, 0].set(1.0)  # all weight in the lower left corner
      >>> abs(float(star(heatmaps, jnp.array([[[-1.0, 1.0]]])))) < 1e-3
      True
    """
    if distance not in _DISTANCES:
        raise ValueError(f"distance: expected one of {', '.join(_DISTANCES)}, got {distance!r}")
    heatmaps = as_float("heatmaps", heatmaps, "N, P, H, W")
    n, points, height, width = heatmaps.shape
    if min(height, width) < 2:
        raise ValueError(f"heatmaps: expected [N, P, H, W] with H and W at least 2, got {list(heatmaps.shape)}")
    landmarks = as_float("landmarks", landmarks, "N, P, 2", N=n, P=points)

    weights = heatmaps / jnp.maximum(jnp.sum(heatmaps, axis=(2, 3), keepdims=True), 1e-6)
    column, row = jnp.sum(weights, axis=2), jnp.sum(weights, axis=3)
    x, y = (jnp.linspace(-1, 1, size, dtype=heatmaps.dtype) for size in (width, height))
    mean_x, mean_y = jnp.sum(column * x, axis=-1), jnp.sum(row * y, axis=-1)
    x, y = x - mean_x[..., None], y - mean_y[..., None]
    # V1 - V2/V1 of V1 = 1 + 1e-5 and V2 = sum w² + 1e-5, without the cancellation when one pixel has all the weight.
    bias = jnp.sum(weights * (1 - weights), axis=(2, 3)) / (1 + 1e-5) + 1e-5
    variance_x, variance_y = jnp.sum(column * x**2, axis=-1) / bias, jnp.sum(row * y**2, axis=-1) / bias
    covariance = jnp.sum(einsum("nphw,npw->nph", weights, x) * y, axis=-1) / bias
    (large, small), (cosine, sine) = _principal_axes(variance_x, variance_y, covariance)

    error_x, error_y = landmarks[..., 0] - mean_x, landmarks[..., 1] - mean_y
    along, across = cosine * error_x + sine * error_y, cosine * error_y - sine * error_x
    measure = _DISTANCES[distance]
    error = measure(along) / jnp.sqrt(large + 1e-5) + measure(across) / jnp.sqrt(small + 1e-5)
    return jnp.mean(error + restriction_weight * (large + small))


def _smooth_l1(error: jax.Array, scale: float = 0.01) -> jax.Array:
    return jnp.where(jnp.abs(error) < scale, error**2 / (2 * scale), jnp.abs(error) - scale / 2)


_DISTANCES = {"smooth_l1": _smooth_l1, "l1": jnp.abs, "l2": jnp.square}


def _principal_axes(variance_x, variance_y, covariance):
    """Eigenvalues of a symmetric 2x2 matrix, larger first, and the direction (cos, sin) of the first eigenvector."""
    middle = (variance_x + variance_y) / 2
    difference = (variance_x - variance_y) / 2
    squared = difference**2 + covariance**2
    distinct = squared > (1e-5 * middle) ** 2
    radius = jnp.where(distinct, jnp.sqrt(jnp.where(distinct, squared, 1)), 0)
    angle = jnp.arctan2(jnp.where(distinct, covariance, 0), jnp.where(distinct, difference, 1)) / 2
    return (middle + radius, jnp.maximum(middle - radius, 0)), (jnp.cos(angle), jnp.sin(angle))


def adaptive_wing(heatmaps: Float[ArrayLike, "N P H W"], target: Float[ArrayLike, "N P H W"]) -> Float[Array, ""]:
    """Adaptive wing loss: steep for small errors on the landmark, lenient on the background.

    With error d and target y in [0, 1], `14 log(1 + d^(2.1 - y))` below d = 0.5 and its tangent above. Pixels whose
    3x3 neighbourhood reaches 0.2 in the target weigh 11, the others 1. Mean over all pixels.

    Args:
      heatmaps: [N, P, H, W], predicted, in [0, 1].
      target: [N, P, H, W], true heatmaps in [0, 1]. Passes no gradient.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the shapes are not [N, P, H, W], or differ.
      TypeError: integers instead of floats.

    Source: Wang et al., "Adaptive wing loss for robust face alignment via heatmap regression", ICCV 2019,
    arXiv 1904.07399, equations 3 and 6; constants omega 14, theta 0.5, epsilon 1, alpha 2.1.

    Examples:
      >>> import jax.numpy as jnp
      >>> face = jnp.zeros([1, 1, 8, 8]).at[0, 0, 4, 4].set(1.0)
      >>> float(adaptive_wing(face, face))
      0.0
      >>> bool(adaptive_wing(0 * face, face) > adaptive_wing(face, 0 * face))  # a miss is worse than a false alarm
      True
    """
    heatmaps = as_float("heatmaps", heatmaps, "N, P, H, W")
    n, points, height, width = heatmaps.shape
    target = as_float("target", target, "N, P, H, W", N=n, P=points, H=height, W=width)
    target = jax.lax.stop_gradient(target)
    omega, theta, alpha = 14.0, 0.5, 2.1
    error = jnp.abs(heatmaps - target)
    exponent = alpha - target
    power = jnp.where(error > 0, jnp.where(error > 0, error, 1) ** exponent, 0)
    slope = omega * exponent * theta ** (exponent - 1) / (1 + theta**exponent)
    tangent = slope * (error - theta) + omega * jnp.log1p(theta**exponent)
    loss = jnp.where(error < theta, omega * jnp.log1p(power), tangent)
    neighbourhood = jax.lax.reduce_window(target, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 1, 1), "SAME")
    return jnp.mean(loss * (1 + 10 * (neighbourhood >= 0.2)))
