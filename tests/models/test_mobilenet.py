"""The depth-wise convolution, which is a sum of shifted images on CPUs, against XLA's own."""

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

    def summed(x, weights):
        return layer.apply({"params": {"kernel": weights}}, x)

    @jax.jit
    def run(x, weights, seed):
        return [
            (output, pull(seed))
            for output, pull in (jax.vjp(function, x, weights) for function in (summed, layer._as_convolution))
        ]

    output = jax.eval_shape(layer._as_convolution, x, weights)
    found, expected = run(x, weights, jnp.asarray(rng.normal(size=output.shape), jnp.float32))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)
