"""Dynamic weight average against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
from random_inputs import generator

from facejax.methods import dynamic_weights

STEPS_PER_EPOCH = 3


def test_against_numpy():
    losses = generator().uniform(0.5, 5, (5 * STEPS_PER_EPOCH, 2)).astype(np.float32)
    means = losses.reshape(-1, STEPS_PER_EPOCH, 2).mean(1)
    begin = jax.jit(dynamic_weights.begin_step, static_argnums=2)
    state = dynamic_weights.init(2)
    for step, loss in enumerate(losses):
        weights, state = begin(state, jnp.asarray(step), STEPS_PER_EPOCH)
        epoch = step // STEPS_PER_EPOCH
        expected = np.ones(2)
        if epoch >= 2:
            power = np.exp(means[epoch - 1] / means[epoch - 2] / 2)
            expected = 2 * power / power.sum()
        np.testing.assert_allclose(weights, expected, rtol=1e-5)
        state = dynamic_weights.end_step(state, jnp.asarray(loss))


def test_a_loss_that_falls_slowly_weighs_more():
    state = {"sum": jnp.array([3.0, 1.5]) * STEPS_PER_EPOCH, "last": jnp.array([3.0, 3.0]), "before": jnp.zeros(2)}
    weights, _ = dynamic_weights.begin_step(state, jnp.asarray(2 * STEPS_PER_EPOCH), STEPS_PER_EPOCH)
    assert weights[0] > 1 > weights[1]


def test_a_single_loss_keeps_weight_1_and_none_has_none():
    for count in (0, 1):
        state = {name: jnp.full(count, 2.0) for name in dynamic_weights.init(count)}
        weights, _ = dynamic_weights.begin_step(state, jnp.asarray(9), STEPS_PER_EPOCH)
        np.testing.assert_array_equal(weights, np.ones(count))


def test_a_loss_that_vanished_does_no_harm():
    state = {"sum": jnp.zeros(2), "last": jnp.array([1.0, 0.0]), "before": jnp.array([0.0, 0.0])}
    weights, _ = dynamic_weights.begin_step(state, jnp.asarray(2 * STEPS_PER_EPOCH + 1), STEPS_PER_EPOCH)
    np.testing.assert_array_equal(weights, [2, 0])
