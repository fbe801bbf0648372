import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check_finite, normal

from facejax import losses


def reference(a, b):
    """Value and gradients, derived by hand: the row lengths are constants."""
    lengths, rows = [], []
    for x in (a, b):
        centered = x - x.mean(0)
        lengths.append(np.linalg.norm(centered, axis=1, keepdims=True) + 1e-6)
        rows.append(centered / lengths[-1])
    product = rows[0].T @ rows[1]
    slopes = [rows[1] @ product.T / lengths[0], rows[0] @ product / lengths[1]]
    return np.mean(product**2), [2 / product.size * (s - s.mean(0)) for s in slopes]


@pytest.mark.parametrize("n, d, e", [(2, 1, 1), (5, 3, 4), (8, 16, 16)])
def test_orthogonality(n, d, e):
    a, b = normal(1, n, d).astype(np.float32), 3 + normal(2, n, e).astype(np.float32)
    value, slopes = jax.value_and_grad(losses.orthogonality, argnums=(0, 1))(a, b)
    expected, expected_slopes = reference(a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_allclose(value, expected, rtol=2e-5)
    scale = max(np.abs(s).max() for s in expected_slopes)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, expected_slope, atol=2e-5 * max(scale, 0.1))


def test_edges():
    x = jnp.asarray(normal(3, 4, 3), jnp.float32)
    for a in (x, 0 * x, jnp.tile(x[:1], [4, 1]), x.astype(jnp.bfloat16)):
        check_finite(losses.orthogonality, a, x)
    check_finite(losses.orthogonality, x[:1], x[:1])


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_shapes_name_the_argument():
    with pytest.raises(ValueError, match=r"^b: expected shape \[N, E\] with N=2, got \[3, 4\]$"):
        losses.orthogonality(np.ones((2, 4)), np.ones((3, 4)))
