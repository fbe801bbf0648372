"""FRA as the loop uses it. Parity with the official implementation is tested in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from experiments import fra_r50
from facejax import losses, methods
from facejax.methods import collapse, fra

pytestmark = pytest.mark.usefixtures("quick_compilation", "short_networks")
SIZE, BATCH = 40, 8


def make_config(**changes):
    """The paper's, small, and without photometry."""
    config = fra_r50.get_config()
    config.epochs, config.image_size = 2, SIZE
    config.view1 = config.view2 = {"crop_scale": (0.2, 1.0)}
    config.model.update(
        backbone="resnet18", width=4, embedding_dim=8, hidden_dim=16, num_regions=3, decoder_layers=1, decoder_heads=2
    )
    config.optimizer.update(learning_rate=0.5, warmup_epochs=1)
    config.ema.momentum = 0.9
    config.update_from_flattened_dict(changes)
    return config


def make_batch(rng, count=BATCH):
    return {
        "image": jnp.asarray(rng.integers(0, 256, (count, SIZE, SIZE, 3)), jnp.uint8),
        "size": jnp.full((count, 2), SIZE, jnp.int32),
    }


@pytest.fixture(scope="module")
def trained():
    """Two steps in bfloat16 with dropout: method, batch, the state at first and at last, the metrics."""
    method = methods.create(make_config(), steps_per_epoch=4, total_steps=8)
    batch = make_batch(generator())
    first = jax.jit(method.init)(jax.random.key(0), batch)
    step = jax.jit(method.train_step)
    state, metrics = step(first, batch, jax.random.key(1))
    again, _ = step(first, batch, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, again, state)  # the same step gives the same bits
    state, metrics = step(state, batch, jax.random.key(1))
    return method, batch, first, state, metrics


def test_state_is_finite_float32(trained):
    *_, state, metrics = trained
    assert int(state.step) == 2
    for tree in (state.params, state.statistics, state.target, metrics):
        for leaf in jax.tree.leaves(tree):
            assert leaf.dtype == jnp.float32
            assert np.isfinite(leaf).all()


def test_everything_moves_and_keeps_its_structure(trained):
    *_, first, state, _ = trained
    assert jax.tree.structure(first) == jax.tree.structure(state)
    for name in ("params", "statistics", "target"):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), getattr(first, name), getattr(state, name))
        assert all(jax.tree.leaves(moved)), name


def test_metrics(trained):
    *_, metrics = trained
    names = ["total", "base", "instance", "region", "cluster", "learning_rate", "target_momentum"]
    assert set(metrics) == {*names, "embedding_spread", "assignment_entropy"}
    assert all(value.shape == () for value in metrics.values())
    np.testing.assert_allclose(metrics["base"], 0.5 * metrics["instance"] + 0.5 * metrics["region"], rtol=1e-6)
    np.testing.assert_allclose(metrics["total"], metrics["base"] + 0.1 * metrics["cluster"], rtol=1e-6)
    np.testing.assert_allclose(metrics["learning_rate"], 0.5 * 2 / 4, rtol=1e-6)


def test_encode_does_not_depend_on_the_batch(trained):
    method, batch, _, state, _ = trained
    encode = jax.jit(lambda *args: method.encode(*args)["pooled"])
    features = encode(state.variables, batch["image"])
    assert features.shape == (BATCH, 8)
    assert features.dtype == jnp.float32
    others = encode(state.variables, batch["image"][::-1])
    np.testing.assert_allclose(others[::-1], features, rtol=1e-5, atol=1e-5)


def test_pictures(trained):
    method, batch, _, state, _ = trained
    pictures = jax.jit(method.pictures)(state.variables, batch["image"])
    assert set(pictures) == {"heatmaps", "segmentation"} == set(method.captions)
    for picture in pictures.values():
        assert picture.shape == (BATCH, SIZE, SIZE, 3)
        assert picture.dtype == jnp.uint8


def test_eman_averages_the_statistics_too():
    config = make_config(**{"ema.target_statistics": "online", "dtype": "float32", "model.dropout": 0.0})
    method = fra.FRA(config, steps_per_epoch=4, total_steps=8)
    state = jax.jit(lambda key: method.init(key, make_batch(generator())))(jax.random.key(0))
    view = jax.random.normal(jax.random.key(1), (4, SIZE, SIZE, 3))
    new, metrics = jax.jit(method.update)(state, (view, view[:, :, ::-1]), jax.random.key(2))
    momentum = float(metrics["target_momentum"])
    assert momentum == pytest.approx(0.9)
    online = method.without_predictors(new.variables)
    expected = jax.tree.map(lambda old, now: momentum * old + (1 - momentum) * now, state.target, online)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), new.target, expected)


def test_only_the_predictors_have_another_learning_rate():
    rng = generator()
    params = {
        name: {"kernel": rng.normal(size=(3, 4)).astype(np.float32)} for name in ("backbone", *fra.FRA.predictors)
    }
    grads = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)

    def second_update(factor):
        config = make_config(**{"optimizer.predictor_factor": factor})
        optimizer = fra.FRA(config, steps_per_epoch=4, total_steps=8).optimizer
        _, state = optimizer.update(grads, optimizer.init(params), params)
        return optimizer.update(grads, state, params)[0]

    plain, faster = second_update(1.0), second_update(10.0)
    for name in params:
        expected = plain[name]["kernel"] * (10 if name in fra.FRA.predictors else 1)
        np.testing.assert_allclose(faster[name]["kernel"], expected, rtol=1e-6)


def test_signs_of_collapse():
    rng = generator()
    spread = jnp.asarray(rng.normal(size=(4000, 16)), jnp.float32)
    assert collapse.embedding_spread(spread) == pytest.approx(1, abs=0.05)
    assert collapse.embedding_spread(jnp.ones((8, 16))) == pytest.approx(0, abs=1e-3)
    one_region = 50 * jax.nn.one_hot(jnp.zeros((4, 7, 7), jnp.int32), 5)
    assert collapse.assignment_entropy(one_region) == pytest.approx(0, abs=1e-3)
    assert collapse.assignment_entropy(jnp.zeros((4, 7, 7, 5))) == pytest.approx(1)


def test_teacher_is_balanced_as_often_as_the_config_says():
    rng = np.random.default_rng(0)
    online, target = ({"dots": jnp.asarray(rng.normal(size=(4, 2, 2, 3)), jnp.float32)} for _ in range(2))
    for iterations in (0, 1, 3):
        method = fra.FRA(make_config(**{"loss.sinkhorn_iterations": iterations}), steps_per_epoch=4, total_steps=8)
        flat = [outputs["dots"].reshape(-1, 3) for outputs in (online, target)]
        expected = losses.cluster_assignment(*flat, sinkhorn_iterations=iterations)
        np.testing.assert_allclose(method._cluster_loss(online, target), expected, rtol=1e-6)
    assert abs(expected - losses.cluster_assignment(*flat, sinkhorn_iterations=0)) > 1e-4
