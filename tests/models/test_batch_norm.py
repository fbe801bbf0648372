import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.models.batch_norm import BatchNorm


def draw(rng, shape, channels):
    x = rng.normal(size=(*shape, channels)) * rng.uniform(0.1, 3, channels) + 5 * rng.normal(size=channels)
    variables = {
        "params": {"scale": rng.normal(size=channels), "bias": rng.normal(size=channels)},
        "batch_stats": {"mean": rng.normal(size=channels), "var": rng.uniform(0.5, 2, channels)},
    }
    return x, variables


def as_float32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def reference(x, variables, running):
    """PyTorch's batch norm in training, float64: the result and the new running statistics."""
    rows = x.reshape(-1, x.shape[-1])
    y = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    mean, var = 0.9 * running[0] + 0.1 * rows.mean(0), 0.9 * running[1] + 0.1 * rows.var(0, ddof=1)
    return y * variables["params"]["scale"] + variables["params"]["bias"], (mean, var)


@pytest.mark.parametrize("shape", [(7,), (6, 3, 5)])
def test_training_and_running_statistics(shape):
    x, variables = draw(generator(), shape, 4)
    running = (variables["batch_stats"]["mean"], variables["batch_stats"]["var"])
    expected, (mean, var) = reference(x, variables, running)
    found, moved = BatchNorm().apply(as_float32(variables), as_float32(x), True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(moved["batch_stats"]["mean"], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved["batch_stats"]["var"], var, rtol=1e-4)


def test_inference():
    x, variables = draw(generator(), (3, 2, 2), 4)
    statistics, params = variables["batch_stats"], variables["params"]
    expected = (x - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5) * params["scale"] + params["bias"]
    found = BatchNorm().apply(as_float32(variables), as_float32(x), False, num_views=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_views_are_normalised_apart_and_in_turn():
    x, variables = draw(generator(), (10, 3), 4)
    running, expected = (variables["batch_stats"]["mean"], variables["batch_stats"]["var"]), np.empty_like(x)
    for view in range(2):
        expected[view::2], running = reference(x[view::2], variables, running)
    apply = functools.partial(BatchNorm().apply, mutable=["batch_stats"])
    found, moved = apply(as_float32(variables), as_float32(x), True, num_views=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(moved["batch_stats"]["mean"], running[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved["batch_stats"]["var"], running[1], rtol=1e-4)


def test_gradient():
    rng = generator()
    x, variables = draw(rng, (5, 2), 3)
    weights, direction, step = rng.normal(size=x.shape), rng.normal(size=x.shape), 1e-5

    def loss(x):
        return (BatchNorm().apply(as_float32(variables), x, True, mutable=["batch_stats"])[0] * weights).sum()

    def exact(x):
        return (reference(x, variables, (0, 0))[0] * weights).sum()

    expected = (exact(x + step * direction) - exact(x - step * direction)) / (2 * step)
    gradient = jax.grad(loss)(as_float32(x))
    np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-3, atol=1e-3)


def test_large_mean_does_not_cancel():
    x = generator().normal(size=(4096, 1)) + 300
    variables = {
        "params": {"scale": np.ones(1), "bias": np.zeros(1)},
        "batch_stats": {"mean": np.full(1, 299.0), "var": np.ones(1)},
    }
    found, _ = BatchNorm().apply(as_float32(variables), as_float32(x), True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.std(found), 1, rtol=1e-4)
