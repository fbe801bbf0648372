"""LAFS and DINO-face as the loop uses them. Parity with the official implementation is tested in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_faces as tiny

from facejax.methods import lafs

pytestmark = pytest.mark.usefixtures("quick_compilation", "short_networks")


@pytest.mark.parametrize("name", ["lafs", "dino"])
def test_steps(name):
    method, state, step = tiny.compiled(name)
    rng = jax.random.key(1)
    batch = tiny.make_batch()
    first, metrics = step(state, batch, rng)
    again, _ = step(state, batch, rng)
    tiny.assert_trees_equal(jax.tree.map(np.asarray, again), jax.tree.map(np.asarray, first))
    assert all(jnp.isfinite(value) and value.shape == () for value in metrics.values())
    # The rate of the first step is 0: nothing moves but center and count.
    tiny.assert_trees_equal(first.params, state.params)
    assert jnp.abs(first.center).max() > 0

    second, _ = step(first, batch, rng)
    tiny.assert_trees_equal(second.params["head"]["last_layer"], state.params["head"]["last_layer"])  # frozen
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), second.params["transformer"], state.params["transformer"])
    assert min(jax.tree.leaves(moved)) > 0
    # The teacher follows by 1 - momentum.
    momentum = method.teacher.momentum(1)
    expected = jax.tree.map(lambda t, s: momentum * t + (1 - momentum) * s, first.target["params"], second.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), second.target["params"], expected)
    if name == "lafs":
        tiny.assert_trees_equal(second.frozen["landmark_network"], state.frozen["landmark_network"])


def test_views_are_patches_around_disturbed_landmarks():
    method, state, _ = tiny.compiled("lafs")
    bound = method
    tokens = jax.jit(bound.tokens)(state.frozen, tiny.make_batch(), jax.random.key(2))
    assert tokens[0].shape == (tiny.BATCH, 2, 16, 192) and tokens[1].shape == (tiny.BATCH, 2, 6, 192)
    assert jnp.abs(tokens[0]).max() <= 1 + 1e-5  # bilinear between -1 and 1, 0 outside


def test_landmark_augmentations():
    points = jnp.broadcast_to(100.0 * jnp.arange(50)[:, None], (400, 50, 2))
    noisy = lafs.disturb(jax.random.key(0), points, noise=5.0)
    assert noisy.shape == points.shape
    assert abs(float((noisy - points).std()) - 5) < 0.1 and abs(float((noisy - points).mean())) < 0.1
    kept = lafs.disturb(jax.random.key(0), points, noise=0.0, kept=36)
    assert kept.shape == (400, 36, 2)
    indices = np.asarray(kept[..., 0] / 100).round().astype(int)
    assert np.abs(np.bincount(indices.reshape(-1), minlength=50) / 400 - 36 / 50).max() < 0.2
    repeats = [36 - len(set(row)) for row in indices]
    assert np.mean(repeats) > 5  # with replacement: 36 - 50 (1 - (49/50)^36) = 10.2 on average
    assert len({tuple(row) for row in indices}) == 400


def test_encoder_is_the_teacher():
    method, state, step = tiny.compiled("lafs")
    for index in range(3):
        state, _ = step(state, tiny.make_batch(index), jax.random.key(1))
    images = tiny.make_batch()["image"]
    encode = jax.jit(lambda *args: method.encode(*args)["embedding"])
    features = encode(method.eval_variables(state), images)
    assert features.shape == (tiny.BATCH, 128) and features.dtype == jnp.float32
    assert (
        jnp.abs(features - encode(method.eval_variables(state.replace(target={"params": state.params})), images)).max()
        > 0
    )
    np.testing.assert_allclose(encode(method.eval_variables(state), images[:1])[0], features[0], atol=1e-4)


@pytest.mark.parametrize("name", ["lafs", "dino"])
def test_pictures(name):
    method, state, _ = tiny.compiled(name)
    pictures = jax.jit(method.pictures)(method.eval_variables(state), tiny.make_batch()["image"])
    assert set(pictures) == ({"landmarks", "followed", "patches", "attention"} if name == "lafs" else {"attention"})
    assert set(pictures) <= set(method.captions)
    for picture in pictures.values():
        assert picture.dtype == jnp.uint8 and picture.shape[0] == tiny.BATCH and picture.shape[3] == 3
