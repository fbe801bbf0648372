import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, cosine, normal

from facejax import losses


def byol_reference(prediction, target):
    return np.mean(2 - 2 * cosine(prediction, target))


def region_reference(prediction, target, weight):
    n, q, _ = prediction.shape
    total = 0.0
    for i in range(n):
        for a in range(q):
            total += 2 - 2 * cosine(prediction[i, a], target[i, a])
            total += weight * sum(cosine(prediction[i, a], target[i, b]) ** 2 for b in range(q) if b != a) / q
    return total / (n * q)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 32)])
def test_byol(shape):
    target = normal(2, *shape)
    check(lambda p: losses.byol(p, target), lambda p: byol_reference(p, target), normal(1, *shape))


@pytest.mark.parametrize("shape, weight", [((1, 1, 2), 0.02), ((2, 3, 4), 0.02), ((2, 8, 16), 1.5)])
def test_region_consistency(shape, weight):
    target = normal(4, *shape)
    check(
        lambda p: losses.region_consistency(p, target, decorrelation_weight=weight),
        lambda p: region_reference(p, target, weight),
        normal(3, *shape),
    )


def test_one_region_is_byol():
    prediction, target = normal(5, 4, 8), normal(6, 4, 8)
    one = losses.region_consistency(prediction[:, None], target[:, None])
    np.testing.assert_allclose(one, losses.byol(prediction, target), rtol=1e-6)


@pytest.mark.parametrize("loss, shape", [(losses.byol, (3, 4)), (losses.region_consistency, (2, 3, 4))])
def test_edges(loss, shape):
    x = jnp.asarray(normal(7, *shape), jnp.float32).at[0].set(0)
    half = x.astype(jnp.bfloat16)
    for prediction, target in [(x, x), (x, -x), (0 * x, x), (x, 0 * x), (1e-15 * x, x), (1e15 * x, x), (half, half)]:
        _, target_slope = check_finite(loss, prediction, target)
        assert not target_slope.any()  # the target is a constant


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_shapes_name_the_argument():
    with pytest.raises(ValueError, match=r"^target: expected shape \[N, D\] with N=2, D=3, got \[2, 4\]$"):
        losses.byol(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"^prediction: expected shape \[N, D\], got \[2, 3, 4\]$"):
        losses.byol(np.ones((2, 3, 4)), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"^prediction: expected shape \[N, Q, D\], got \[0, 3, 4\]$"):
        losses.region_consistency(np.ones((0, 3, 4)), np.ones((0, 3, 4)))
