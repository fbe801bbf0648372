import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, normal

from facejax import losses

DISTANCES = {
    "smooth_l1": lambda d: 0.5 * d**2 / 0.01 if abs(d) < 0.01 else abs(d) - 0.005,
    "l1": abs,
    "l2": lambda d: d**2,
}

STAR = {name: functools.partial(losses.star, distance=name) for name in DISTANCES}


def star_reference(heatmaps, landmarks, distance, weight):
    n, points, h, w = heatmaps.shape
    grid = np.stack(np.meshgrid(2 * np.arange(w) / (w - 1) - 1, 2 * np.arange(h) / (h - 1) - 1), -1).reshape(-1, 2)
    total = 0.0
    for i in range(n):
        for p in range(points):
            weights = heatmaps[i, p].ravel() / heatmaps[i, p].sum()
            mean = weights @ grid
            v1, v2 = weights.sum() + 1e-5, np.sum(weights**2) + 1e-5
            covariance = (grid - mean).T @ (weights[:, None] * (grid - mean)) / (v1 - v2 / v1)
            values, vectors = np.linalg.eigh(covariance)
            for value, vector in zip(values, vectors.T, strict=True):
                error = DISTANCES[distance](vector @ (landmarks[i, p] - mean))
                total += error / np.sqrt(value + 1e-5) + weight * value
    return total / (n * points)


def wing_reference(prediction, target):
    omega, theta, epsilon, alpha = 14, 0.5, 1, 2.1
    total = 0.0
    for index in np.ndindex(target.shape):
        y, d = target[index], abs(target[index] - prediction[index])
        ratio = (theta / epsilon) ** (alpha - y)
        a = omega / (1 + ratio) * (alpha - y) * (theta / epsilon) ** (alpha - y - 1) / epsilon
        c = theta * a - omega * np.log(1 + ratio)
        loss = omega * np.log(1 + (d / epsilon) ** (alpha - y)) if d < theta else a * d - c
        i, j = index[2:]
        near = target[index[0], index[1], max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max()
        total += loss * (11 if near >= 0.2 else 1)
    return total / target.size


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("shape, weight, closeness", [((1, 2, 5, 4), 1.0, 0.5), ((2, 1, 3, 6), 0.3, 0.008)])
def test_star(distance, shape, weight, closeness):
    heatmaps = np.exp(2 * normal(1, *shape))
    h, w = shape[2:]
    share = heatmaps / heatmaps.sum((2, 3), keepdims=True)
    means = np.stack(
        [np.sum(share * np.linspace(-1, 1, w), (2, 3)), np.sum(share * np.linspace(-1, 1, h)[:, None], (2, 3))], -1
    )
    check(
        lambda m, p: losses.star(m, p, distance, weight),
        lambda m, p: star_reference(m, p, distance, weight),
        heatmaps,
        means + closeness * normal(2, *shape[:2], 2),
    )


def gaussian(width, height):
    """[16, 16], in the middle, with these standard deviations."""
    grid = np.linspace(-1, 1, 16)
    return np.exp(-(((grid / width) ** 2)[None] + ((grid / height) ** 2)[:, None]) / 2)


def test_star_with_equal_eigenvalues():
    round_map = jnp.asarray(gaussian(0.3, 0.3)[None, None], jnp.float32)
    for distance, star in STAR.items():
        for landmark in ([0.3, -0.2], [0.0, 0.0]):
            point = jnp.array([[landmark]])
            slope, _ = check_finite(star, round_map, point)
            assert np.abs(slope).max() < 1, distance  # of the size of other maps' gradients
    expected = star_reference(np.asarray(round_map, np.float64), np.array([[[0.3, -0.2]]]), "l2", 1.0)
    np.testing.assert_allclose(losses.star(round_map, jnp.array([[[0.3, -0.2]]]), "l2"), expected, rtol=1e-4)


def test_star_edges():
    empty = jnp.zeros([1, 1, 8, 8])
    one_hot = empty.at[0, 0, 2, 5].set(3.0)
    line = empty.at[0, 0, 3, :].set(1.0)
    diagonal = jnp.eye(8)[None, None]
    for heatmaps in (empty, one_hot, line, diagonal, jnp.ones([1, 1, 8, 8]), one_hot.astype(jnp.bfloat16)):
        for star in STAR.values():
            check_finite(star, heatmaps, jnp.array([[[3 / 7, -3 / 7]]]))


def test_star_forgives_errors_along_the_ambiguous_direction():
    wide = gaussian(0.3, 0.05)
    along = losses.star(wide[None, None], np.array([[[0.2, 0.0]]]))
    across = losses.star(wide[None, None], np.array([[[0.0, 0.2]]]))
    assert along < across / 2


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 2, 5, 4)])
def test_adaptive_wing(shape):
    rng = np.random.default_rng(3)
    target = np.where(rng.random(shape) < 0.2, rng.random(shape), 0.1 * rng.random(shape)).astype(np.float32)
    check(
        lambda p: losses.adaptive_wing(p, target),
        lambda p: wing_reference(p, target.astype(np.float64)),
        rng.random(shape),
    )


def test_adaptive_wing_edges():
    target = jnp.zeros([1, 1, 6, 6]).at[0, 0, 0, 5].set(1.0)
    for prediction in (target, 1 - target, 0 * target, target + 0.5, target.astype(jnp.bfloat16)):
        _, target_slope = check_finite(losses.adaptive_wing, prediction, target)
        assert not target_slope.any()
    assert not jax.grad(losses.adaptive_wing)(target, target).any()


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_arguments_are_named():
    x = np.ones((1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"^distance: expected one of smooth_l1, l1, l2, got 'smoothl1'$"):
        losses.star(x, np.ones((1, 2, 2)), "smoothl1")
    with pytest.raises(ValueError, match=r"^landmarks: expected shape \[N, P, 2\] with N=1, P=2, got \[1, 2, 3\]$"):
        losses.star(x, np.ones((1, 2, 3)))
    with pytest.raises(ValueError, match=r"^heatmaps: .* at least 2, got \[1, 2, 1, 4\]$"):
        losses.star(x[:, :, :1], np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match=r"^target: expected shape \[N, P, H, W\] with N=1, P=2, H=4, W=4, got"):
        losses.adaptive_wing(x, x[:, :1])
