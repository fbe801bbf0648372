"""AdamW with groups, frozen parameters and clipping against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from random_inputs import generator

from facejax import adamw

STEPS, FROZEN = 5, 2
ATOL = 2e-5  # 1 - 0.999 in float32 is off by 6e-5 of itself, so that steps of 0.1 are off by up to 3e-6 each


class Reference:
    """AdamW of one parameter, in float64."""

    def __init__(self, param):
        self.param, self.first, self.second, self.count = np.float64(param), 0.0, 0.0, 0

    def step(self, gradient, rate, decay):
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        self.param = self.param * (1 - rate * decay) - rate * mean / (np.sqrt(square) + 1e-8)


def run(optimizer, params, gradients):
    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    state = optimizer.init(params)
    for gradient in gradients:
        params, state = step(params, state, gradient)
    return params


def random_tree(rng):
    shapes = {"head": {"last_layer": (3, 4)}, "block": {"kernel": (4, 2), "bias": (2,)}}
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple)
    )


def test_dino_adamw():
    rng = generator()
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(STEPS)]
    rates, decays = rng.uniform(0.01, 0.1, STEPS), rng.uniform(0.1, 0.4, STEPS)
    optimizer = adamw.dino_adamw(
        lambda step: jnp.asarray(rates, jnp.float32)[step],
        weight_decay=lambda step: jnp.asarray(decays, jnp.float32)[step],
        max_norm=1.5,
        frozen=lambda path: path == "head/last_layer",
        frozen_steps=FROZEN,
    )
    found = run(optimizer, params, gradients)
    references = jax.tree.map(Reference, params)
    for step, gradient in enumerate(gradients):
        clipped = jax.tree.map(lambda g: g * min(1, 1.5 / (np.linalg.norm(np.float64(g)) + 1e-6)), gradient)
        rate, decay = rates[step], decays[step]
        if step >= FROZEN:
            references["head"]["last_layer"].step(clipped["head"]["last_layer"], rate, decay)
        references["block"]["kernel"].step(clipped["block"]["kernel"], rate, decay)
        references["block"]["bias"].step(clipped["block"]["bias"], rate, 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.param, rtol=2e-5, atol=ATOL), found, references)


def test_grouped_adamw():
    rng = generator()
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(STEPS)]
    groups = {"head/last_layer": (1.0, 0.1), "block/kernel": (0.25, 0.2), "block/bias": (0.5, 0.0)}
    found = run(adamw.grouped_adamw(0.1, lambda path, _: groups[path]), params, gradients)
    for path, (scale, decay) in groups.items():
        outer, inner = path.split("/")
        reference = Reference(params[outer][inner])
        for gradient in gradients:
            reference.step(gradient[outer][inner], 0.1 * scale, decay)
        np.testing.assert_allclose(found[outer][inner], reference.param, rtol=2e-5, atol=ATOL)


def test_adamw_by_part():
    rng = generator()
    params, gradients = random_tree(rng), [random_tree(rng) for _ in range(STEPS)]
    rates = rng.uniform(0.01, 0.1, STEPS)
    schedule = lambda step: jnp.asarray(rates, jnp.float32)[step]  # noqa: E731
    found = run(adamw.adamw_by_part({"head": schedule, "block": 0.05}, weight_decay=0.3), params, gradients)
    references = jax.tree.map(Reference, params)
    for step, gradient in enumerate(gradients):
        references["head"]["last_layer"].step(gradient["head"]["last_layer"], rates[step], 0.3)
        for name in ("kernel", "bias"):  # vectors are decayed too
            references["block"][name].step(gradient["block"][name], 0.05, 0.3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.param, rtol=2e-5, atol=ATOL), found, references)
