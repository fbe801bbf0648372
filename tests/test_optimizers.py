import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from random_inputs import generator

from facejax import optimizers
from facejax.errors import UserError


def draw(rng):
    return {
        "bn1": {"scale": rng.normal(size=4), "bias": rng.normal(size=4)},
        "conv": {"kernel": rng.normal(size=(3, 3, 2, 4))},
        "norm": {"scale": rng.normal(size=5), "bias": rng.normal(size=5)},
    }


ADAPTED = {
    "official": [("conv", "kernel"), ("norm", "scale")],
    "bias_and_norm": [("conv", "kernel")],
}


@pytest.mark.parametrize("rule", ADAPTED)
def test_lars_against_numpy(rule):
    rng = generator()
    weights = draw(rng)
    rates, momentum, decay, eta = rng.uniform(0.1, 1, 4), 0.9, 1e-2, 1e-3
    params = jax.tree.map(jnp.float32, weights)
    optimizer = optimizers.lars(
        lambda step: jnp.asarray(rates, jnp.float32)[step],
        momentum=momentum,
        weight_decay=decay,
        trust_coefficient=eta,
        exclude=rule,
    )
    state, buffers = optimizer.init(params), jax.tree.map(np.zeros_like, weights)
    for rate in rates:
        gradients = draw(rng)
        updates, state = optimizer.update(jax.tree.map(jnp.float32, gradients), state, params)
        params = optax.apply_updates(params, updates)
        for layer, tensors in gradients.items():
            for name, g in tensors.items():
                w = weights[layer][name]
                if (layer, name) in ADAPTED[rule]:
                    trust = eta * np.linalg.norm(w) / (np.linalg.norm(g) + decay * np.linalg.norm(w) + 1e-8)
                    g = (g + decay * w) * trust
                buffers[layer][name] = momentum * buffers[layer][name] + rate * g
                weights[layer][name] = w - buffers[layer][name]
    jax.tree.map(lambda found, expected: np.testing.assert_allclose(found, expected, atol=2e-6), params, weights)


def test_zero_gradient_and_weight_stay_finite():
    params = {"kernel": jnp.zeros((2, 2)), "other": jnp.ones((2, 2))}
    optimizer = optimizers.lars(0.1)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))
    assert (updates["kernel"] == 0).all()


def test_unknown_rule():
    with pytest.raises(UserError, match=r"config\.optimizer\.exclude.*bias_and_norm, official"):
        optimizers.excluded({"kernel": jnp.ones(1)}, "none")


def test_parts_without_an_optimizer_stay():
    """FRA's linear probe: momentum for the head, nothing for the rest, whatever its gradient."""
    rng = generator()
    params = {"backbone": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(3)}, "neck": jnp.ones(2)}
    optimizer = optimizers.by_part({"head": optax.sgd(0.1, momentum=0.9), "neck": optax.sgd(0.2)})
    state, found, buffer, expected = optimizer.init(params), params, 0, np.ones(3)
    for _ in range(3):
        gradients = jax.tree.map(lambda param: jnp.asarray(rng.normal(size=param.shape), jnp.float32), params)
        updates, state = optimizer.update(gradients, state, found)
        found = optax.apply_updates(found, updates)
        buffer = 0.9 * buffer + np.asarray(gradients["head"]["kernel"])
        expected = expected - 0.1 * buffer
    np.testing.assert_allclose(found["head"]["kernel"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["backbone"]["kernel"], 1)
    assert not np.allclose(found["neck"], 1)


def test_a_part_that_is_not_there():
    with pytest.raises(ValueError, match="the parameters have no part head, only backbone, neck"):
        optimizers.by_part({"head": optax.sgd(0.1)}).init({"backbone": jnp.ones(1), "neck": jnp.ones(1)})
