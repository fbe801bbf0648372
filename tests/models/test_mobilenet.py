"""The landmark network's trunk: its depth-wise convolution on CPUs against XLA's own, and how its blocks start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.models.depthwise import Depthwise
from facejax.models.mobilenet import InvertedResidual


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 7), (3, 2, 8), (5, 1, 4), (5, 2, 7)])
def test_sum_of_shifts_is_the_convolution(kernel, stride, size):
    rng = generator()
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


@pytest.mark.parametrize(
    ("features", "stride", "identity_start", "starts_as_identity"),
    [(6, 1, True, True), (6, 1, False, False), (8, 1, True, False), (6, 2, True, False)],
)
def test_block_with_a_shortcut_can_start_as_the_identity(features, stride, identity_start, starts_as_identity):
    rng = generator()
    block = InvertedResidual(3, 12, features, True, True, stride, identity_start, jnp.float32)
    x = jnp.asarray(rng.normal(size=(2, 1, 4, 6)), jnp.float32)
    variables = block.init(jax.random.key(0), x, False)
    output, _ = block.apply(variables, x, True, mutable=["batch_stats"])
    assert np.array_equal(output, x) == starts_as_identity

    moved = jax.tree.map(lambda param: param + rng.normal(size=param.shape, scale=0.3), variables["params"])
    output, _ = block.apply({**variables, "params": moved}, x, True, mutable=["batch_stats"])
    assert output.shape == (2, 1, 4 // stride, features) and not np.array_equal(output, x)
