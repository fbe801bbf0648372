import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check_gradient, cosine, normal

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
def test_byol_value_and_gradient(shape):
    prediction, target = normal(1, *shape), normal(2, *shape)
    np.testing.assert_allclose(losses.byol(prediction, target), byol_reference(prediction, target), atol=2e-6)
    check_gradient(lambda p: losses.byol(p, target), lambda p: byol_reference(p, target), prediction)


@pytest.mark.parametrize("shape", [(1, 1, 2), (2, 3, 4), (3, 8, 16)])
@pytest.mark.parametrize("weight", [0.02, 1.5])
def test_region_consistency_value_and_gradient(shape, weight):
    prediction, target = normal(3, *shape), normal(4, *shape)
    value = losses.region_consistency(prediction, target, decorrelation_weight=weight)
    np.testing.assert_allclose(value, region_reference(prediction, target, weight), rtol=1e-5)
    check_gradient(
        lambda p: losses.region_consistency(p, target, weight),
        lambda p: region_reference(p, target, weight),
        prediction,
    )


def test_one_region_is_byol():
    prediction, target = normal(5, 4, 8), normal(6, 4, 8)
    one = losses.region_consistency(prediction[:, None], target[:, None])
    np.testing.assert_allclose(one, losses.byol(prediction, target), rtol=1e-6)


@pytest.mark.parametrize("loss, shape", [(losses.byol, (3, 4)), (losses.region_consistency, (2, 3, 4))])
def test_edges(loss, shape):
    x = jnp.asarray(normal(7, *shape), jnp.float32).at[0].set(0)
    for prediction, target in [(x, x), (x, -x), (x * 0, x), (x, x * 0), (x * 1e-15, x), (x * 1e15, x)]:
        value, (slope, target_slope) = jax.value_and_grad(loss, argnums=(0, 1))(prediction, target)
        assert np.isfinite(value) and np.isfinite(slope).all()
        assert not target_slope.any()  # the target is a constant
    half = x.astype(jnp.bfloat16)
    value, slope = jax.value_and_grad(loss)(half, half)
    assert value.dtype == jnp.float32 and slope.dtype == jnp.bfloat16 and np.isfinite(slope.astype(np.float32)).all()


def test_wrong_shapes_name_the_argument():
    with pytest.raises(ValueError, match=r"^target: expected shape \[N, D\] with N=2, D=3, got \[2, 4\]$"):
        losses.byol(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"^prediction: expected shape \[N, D\], got \[2, 3, 4\]$"):
        losses.byol(np.ones((2, 3, 4)), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"^prediction: expected shape \[N, Q, D\], got \[0, 3, 4\]$"):
        losses.region_consistency(np.ones((0, 3, 4)), np.ones((0, 3, 4)))
