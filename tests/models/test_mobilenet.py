"""The depth-wise convolution in both of its forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.models.mobilenet import Depthwise


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 7), (3, 2, 8), (5, 1, 4), (5, 2, 7)])
def test_sum_of_shifts_is_the_convolution(kernel, stride, size):
    rng = np.random.default_rng()
    x = jnp.asarray(rng.normal(size=(2, size, size + 1, 5)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(kernel, kernel, 1, 5)), jnp.float32)
    layer = Depthwise(kernel, stride, jnp.float32)
    expected = layer._as_convolution(x, weights)
    np.testing.assert_allclose(layer._as_sum(x, weights), expected, atol=1e-5)
    found = jax.jit(layer.apply)({"params": {"kernel": weights}}, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
