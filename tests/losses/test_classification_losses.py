import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, normal, softmax

from facejax import losses


@pytest.mark.parametrize("labels", [np.array([3, 0, 3, 1]), softmax(normal(1, 4, 5))], ids=["int", "soft"])
def test_cross_entropy(labels):
    target = np.eye(5)[labels] if labels.ndim == 1 else labels
    check(
        lambda x: losses.cross_entropy(x, labels),
        lambda x: -np.mean(np.sum(target * np.log(softmax(x)), -1)),
        normal(2, 4, 5),
    )


def test_binary_cross_entropy():
    targets = (normal(3, 4, 6) > 0).astype(float)
    targets[0, 0] = 0.3

    def reference(x):
        p = 1 / (1 + np.exp(-x))
        return -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))

    check(lambda x: losses.binary_cross_entropy(x, targets), reference, normal(4, 4, 6))


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_edges(size):
    """Logits that are sure and wrong, or sure and right, by far more than a probability can say."""
    logits = jnp.full((2, 3), size).at[:, 0].multiply(-1)
    targets = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    for dtype in (jnp.float32, jnp.bfloat16):
        check_finite(lambda x: losses.binary_cross_entropy(x, targets), logits.astype(dtype))
        check_finite(lambda x: losses.cross_entropy(x, np.array([0, 1])), logits.astype(dtype))
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, targets), 5e3, rtol=1e-6)


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"^labels: expected 0 to 2, got 0 to 3$"):
        losses.cross_entropy(np.ones((2, 3)), np.array([0, 3]))
    with pytest.raises(ValueError, match=r"^labels: expected shape \[N\] with N=2, got \[3\]$"):
        losses.cross_entropy(np.ones((2, 3)), np.array([0, 1, 2]))
    with pytest.raises(TypeError, match=r"^labels: expected integers \[N\] or soft labels \[N, C\], got float"):
        losses.cross_entropy(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match=r"^targets: expected shape \[N, A\] with N=2, A=3, got \[2, 2\]$"):
        losses.binary_cross_entropy(np.ones((2, 3)), np.ones((2, 2)))
    assert np.isnan(jax.jit(losses.cross_entropy)(np.ones((2, 3)), np.array([0, 3])))
