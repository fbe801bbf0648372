"""The transformer on tokens, and the network of self-distillation. Parity is tested in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_experiment
from random_inputs import generator

from facejax.models.dino_head import DINOHead
from facejax.models.fvit import FaceTransformer, FViT, SelfAttention
from facejax.models.lafs import LAFSNetwork
from facejax.models.landmarks import LandmarkNetwork

TOKENS = 16


@functools.cache
def variables_of(network):
    return jax.jit(network.init, static_argnums=2)(jax.random.key(0), jnp.zeros((1, TOKENS, 12)), False)


@pytest.fixture
def tokens():
    return jnp.asarray(generator().normal(size=(3, TOKENS, 12)), jnp.float32)


def test_fewer_tokens_take_the_first_positions(tokens):
    network = FViT("nano", TOKENS)
    variables = variables_of(network)
    changed = jax.tree.map(jnp.copy, variables)
    changed["params"]["positions"] = changed["params"]["positions"].at[:, 6:].set(0)
    run = jax.jit(network.apply, static_argnums=2)
    np.testing.assert_array_equal(run(variables, tokens[:, :5], False), run(changed, tokens[:, :5], False))
    assert jnp.abs(run(variables, tokens[:, :6], False) - run(changed, tokens[:, :6], False)).max() > 1e-3


def test_interpolated_positions_are_a_coarser_grid():
    network = FViT("nano", TOKENS, interpolate=True)
    row, column = jnp.mgrid[0:4, 0:4]
    ramp = jnp.concatenate([jnp.full(1, 9.0), (10.0 * row + column).reshape(-1)])[None, :, None]
    found = network._positions_of(jnp.broadcast_to(ramp, (1, TOKENS + 1, network.width)), 4)
    # In the middle of the new cells, half an old cell from the rim: bicubic is exact on a ramp but for the rim.
    np.testing.assert_allclose(found[0, :, 0], [9, 5.5, 7.5, 25.5, 27.5], atol=1.5)
    assert found[0, 0, 0] == 9


def test_dropout_and_stochastic_depth_only_in_training(tokens):
    network = FViT("nano", TOKENS, dropout=0.0, stochastic_depth=1.0)
    variables = variables_of(network)
    run = jax.jit(network.apply, static_argnums=2)
    still = run(variables, tokens, False)
    skipped = run(variables, tokens, True, rngs={"dropout": jax.random.key(1)})
    # Without any branch the class token arrives as it set out, in every example.
    np.testing.assert_allclose(skipped[0], skipped[1], atol=1e-6)
    assert jnp.abs(still[0] - still[1]).max() > 1e-3


def test_class_attention_is_a_distribution(tokens):
    network = FViT("nano", TOKENS)
    _, sown = network.apply(variables_of(network), tokens, False, mutable=["intermediates"])
    attention = sown["intermediates"]["block1"]["attention"]["class_attention"][0]
    assert attention.shape == (3, 2, TOKENS + 1)
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


def test_views_of_all_token_counts_go_through_one_head(tokens):
    network = LAFSNetwork(FViT("nano", TOKENS, dropout=0.0, stochastic_depth=0.0), DINOHead(20, 8, 4))
    views = [tokens[None].repeat(2, 0), tokens[None, :, :5].repeat(2, 0)]  # two images with three views, twice
    run = jax.jit(network.apply, static_argnums=2)
    variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), views, False)
    embeddings, logits = run(variables, views, False)
    assert embeddings.shape == (6, 2, 128) and logits.shape == (6, 2, 20)
    for index in range(3):
        alone = run(variables, [tokens[None, index : index + 1, :5]], False)[1]
        np.testing.assert_allclose(logits[3 + index, 1], alone[0, 0], atol=1e-5)
    # Rows of the last layer have norm 1 and meet a vector of norm 1.
    assert jnp.abs(logits).max() <= 1 + 1e-5


def test_landmarks_span_the_image_and_learn_through_the_patches(monkeypatch, quick_compilation):
    tiny_experiment.shorten_networks(monkeypatch)
    network = FaceTransformer(FViT("nano", 9, dropout=0.0, stochastic_depth=0.0), LandmarkNetwork(9, dropout=0.0))
    images = jnp.asarray(generator().uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)

    variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), images, False)

    @jax.jit
    def run(variables, images):
        def loss(output):
            params = {**variables["params"]}
            params["landmark_network"] = {**params["landmark_network"], "output": output}
            return network.apply({**variables, "params": params}, images, False)[:, 0].sum()

        points = network.apply(variables, images, False, method="points")
        return points, jax.grad(loss)(variables["params"]["landmark_network"]["output"])

    points, slopes = run(variables, images)
    assert points.shape == (2, 9, 2)
    np.testing.assert_allclose(points.min((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(points.max((1, 2)), 31, rtol=1e-5)
    assert jnp.abs(slopes["kernel"]).max() > 0


def test_attention_drops_out_after_its_output_projection(tokens):
    network = SelfAttention(2, 0.5, jnp.float32)
    variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), tokens, False)
    run = jax.jit(network.apply, static_argnums=2)
    still = np.asarray(run(variables, tokens, False))
    dropped = np.asarray(run(variables, tokens, True, rngs={"dropout": jax.random.key(1)}))
    kept = dropped != 0
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_allclose(dropped[kept], 2 * still[kept], rtol=1e-4, atol=1e-6)
