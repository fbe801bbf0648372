"""Adam in parts against a NumPy Adam with a step count for each parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.optimizers import PartwiseAdam

TURNS = [("trunk", "a"), ("trunk", "b"), ("b",), ("trunk", "a"), ("a", "b")]
RATE, DECAY = 0.01, 0.1


def reference(params, gradients, without_gradient):
    """Kingma & Ba's algorithm 1, each entry by itself, in float64."""
    params = {name: value.astype(np.float64) for name, value in params.items()}
    moments = {name: (0, np.zeros_like(value), np.zeros_like(value)) for name, value in params.items()}
    for gradient in gradients:
        for name, value in params.items():
            count, m, v = moments[name]
            if name not in gradient and (without_gradient == "skip" or count == 0):
                continue
            g = gradient.get(name, 0) + DECAY * value
            count, m, v = count + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            params[name] = value - RATE * (m / (1 - 0.9**count)) / (np.sqrt(v / (1 - 0.999**count)) + 1e-8)
            moments[name] = count, m, v
    return params, {name: count for name, (count, _, _) in moments.items()}


@pytest.mark.parametrize("without_gradient", ["skip", "decay"])
def test_against_numpy(without_gradient):
    rng = generator()
    params = {name: rng.normal(size=(3, 2)).astype(np.float32) for name in ("trunk", "a", "b", "idle")}
    gradients = [{name: rng.normal(size=(3, 2)).astype(np.float32) for name in turn} for turn in TURNS]
    expected, counts = reference(params, gradients, without_gradient)

    optimizer = PartwiseAdam(weight_decay=DECAY, without_gradient=without_gradient)
    found = {name: {"kernel": value} for name, value in params.items()}
    state, update = optimizer.init(found), jax.jit(optimizer.update)
    for gradient in gradients:
        found, state = update({name: {"kernel": g} for name, g in gradient.items()}, state, found, RATE)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name]["kernel"], value, rtol=1e-5, atol=1e-6, err_msg=name)
        assert state[name][1].count == counts[name]
    np.testing.assert_array_equal(found["idle"]["kernel"], params["idle"])


def test_unknown_rule():
    with pytest.raises(UserError, match=r"config\.optimizer\.without_gradient: 'zero'"):
        PartwiseAdam(without_gradient="zero")


def test_parameters_given_are_not_changed():
    params = {"trunk": jnp.ones(2)}
    optimizer = PartwiseAdam()
    state = optimizer.init(params)
    optimizer.update({"trunk": jnp.ones(2)}, state, params, RATE)
    assert params["trunk"][0] == 1
    assert state["trunk"][1].count == 0
