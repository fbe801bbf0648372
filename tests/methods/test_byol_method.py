"""BYOL's step: the loss is what NumPy makes of its outputs, and the target follows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smaller_experiments
from random_inputs import generator

from experiments import byol_r50
from facejax.methods import byol

BATCH, SIZE = 4, 40


@pytest.fixture(scope="module")
def run(quick_compilation):
    config = byol_r50.get_config("demo")
    smaller_experiments.byol(config)
    config.image_size = SIZE
    method = byol.BYOL(config, steps_per_epoch=4, total_steps=8)
    state = jax.jit(lambda key: method.init(key, {}))(jax.random.key(0))
    views = tuple(jnp.asarray(generator().normal(size=(2, BATCH, SIZE, SIZE, 3)), jnp.float32))
    return method, state, views, jax.jit(method.update)(state, views, jax.random.key(1))


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_total_is_two_minus_twice_the_cosine_both_ways(run):
    method, state, views, (_, metrics) = run

    @functools.partial(jax.jit, static_argnames="way")
    def alone(variables, view, way):
        apply = functools.partial(method.network.apply, mutable=list(state.statistics), method=way)
        return apply(variables, view, True)[0]

    predictions = [alone(state.variables, view, "predict")["global_prediction"] for view in views]
    targets = [alone(state.target, view, "__call__")["global"] for view in views]
    expected = sum(
        (2 - 2 * (unit(prediction) * unit(target)).sum(-1)).mean()
        for prediction, target in zip(predictions, targets[::-1], strict=True)
    )
    assert float(metrics["total"]) == pytest.approx(expected, rel=1e-4)


def test_the_target_follows_the_online_network(run):
    method, state, _, (new, metrics) = run
    momentum = float(metrics["target_momentum"])
    assert momentum == pytest.approx(method.config.ema.momentum)
    online = method.without_predictors({"params": new.params})["params"]
    assert "predictor" in new.params and "predictor" not in new.target["params"]
    expected = jax.tree.map(lambda old, now: momentum * old + (1 - momentum) * now, state.target["params"], online)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), new.target["params"], expected)
