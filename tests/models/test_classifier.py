import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.models.classifier import AttributeHead, Classifier, LinearHead
from facejax.models.resnet import ResNet

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles sooner


@pytest.mark.parametrize(("head", "outputs"), [(LinearHead(7), 7), (AttributeHead(), 40)])
def test_shapes(head, outputs):
    network = Classifier(ResNet("resnet50", dtype=jnp.bfloat16), head)
    images = jax.ShapeDtypeStruct((3, 96, 96, 3), jnp.float32)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((3, 96, 96, 3)), train=False))
    found = jax.eval_shape(functools.partial(network.apply, train=False), variables, images)
    assert found["features"].shape == (3, 2048) and found["logits"].shape == (3, outputs)
    assert all(array.dtype == jnp.float32 for array in found.values())
    assert set(variables["params"]) == {"backbone", "head"}


def test_linear_head_starts_near_zero():
    params = LinearHead(50).init(KEY, jnp.zeros((1, 1000)), False)["params"]["output"]
    np.testing.assert_allclose(params["kernel"].std(), 0.01, rtol=0.03)
    assert not params["bias"].any()


def test_attribute_head_starts_as_pytorch_does():
    params = jax.jit(AttributeHead().init, static_argnums=2)(KEY, jnp.zeros((1, 2048)), False)["params"]
    for layer, fan_in in (("hidden0", 2048), ("hidden1", 512), ("output", 256)):
        for array in params[layer].values():
            assert np.abs(array).max() <= 1 / np.sqrt(fan_in)
            np.testing.assert_allclose(array.std(), 1 / np.sqrt(3 * fan_in), rtol=0.3 if array.ndim == 1 else 0.02)


def test_attribute_head():
    """Against NumPy, with running statistics."""
    rng, head = generator(), AttributeHead(num_outputs=3, hidden_dims=(5, 4))
    x = rng.normal(size=(6, 7))
    variables = jax.eval_shape(lambda: head.init(KEY, jnp.zeros((1, 7)), False))
    variables = jax.tree.map(lambda array: rng.uniform(0.5, 1.5, array.shape) - 0.2, variables)
    found = jax.jit(head.apply, static_argnums=2)(jax.tree.map(jnp.float32, variables), jnp.float32(x), False)
    params, statistics = variables["params"], variables["batch_stats"]
    for index in range(2):
        layer, norm, running = params[f"hidden{index}"], params[f"norm{index}"], statistics[f"norm{index}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5) * norm["scale"] + norm["bias"]
        x = np.maximum(x, 0)
    np.testing.assert_allclose(found, x @ params["output"]["kernel"] + params["output"]["bias"], rtol=1e-3, atol=1e-3)


def test_dropout_only_in_training():
    head = AttributeHead(num_outputs=3, dropout=0.5)
    features = jnp.asarray(generator().normal(size=(8, 16)), jnp.float32)
    variables = head.init(KEY, features, False)

    @functools.partial(jax.jit, static_argnums=0)
    def run(train, seed):
        rngs = {"dropout": jax.random.key(seed)}
        return head.apply(variables, features, train, rngs=rngs, mutable=["batch_stats"])[0]

    assert (run(False, 0) == run(False, 1)).all()
    assert (run(True, 0) == run(True, 0)).all()
    assert not np.allclose(run(True, 0), run(True, 1))
