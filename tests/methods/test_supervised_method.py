"""Recognition as the loop uses it, and the chain of LAFS' stages."""

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_faces as tiny
from random_inputs import generator

from facejax.checkpoints import Checkpoints
from facejax.errors import UserError
from facejax.methods import supervised

pytestmark = pytest.mark.usefixtures("quick_compilation", "short_networks")

GRID = {
    "model.landmarks": False,
    "view.flip": 0.0,
    "view.crop_scale": (1.0, 1.0),
    "erasing.probability": 0.0,
    "optimizer.warmup_epochs": 0,
    "optimizer.learning_rate": 1e-2,
    "optimizer.groups": "end_to_end",
}


@pytest.fixture(scope="module")
def grid():
    """fViT without augmentation, which compiles quickly: method, state, step."""
    method = tiny.make_method(tiny.make_config("finetune", **GRID))
    return method, jax.jit(method.init)(jax.random.key(0), tiny.make_batch()), jax.jit(method.train_step)


def test_what_the_loop_must_know(grid):
    method, state, _ = grid
    assert method.fields == ("image", "identity") and method.num_classes == {"identity": tiny.CLASSES}
    assert state.params["classifier"].shape == (256, 128)  # padded


def test_it_learns_a_batch(grid):
    _, state, step = grid
    totals = []
    for _ in range(12):
        state, metrics = step(state, tiny.make_batch(), jax.random.key(1))
        totals.append(float(metrics["total"]))
    assert totals[-1] < totals[0] / 4
    assert metrics["learning_rate"] < 1e-3


def test_landmark_network_has_a_rate_and_a_decay_of_its_own():
    group = supervised.end_to_end_groups(weight_decay=0.1, landmark_weight_decay=0.05, landmark_factor=0.2)
    assert group("landmark_network/trunk/stem/conv/kernel", None) == (0.2, 0.05)
    assert group("transformer/block0/mlp/hidden/kernel", None) == group("classifier", None) == (1.0, 0.1)


def landmarks_later(epochs):
    config = tiny.make_config("finetune", **GRID)
    config.optimizer.update(landmark_factor=0.5, weight_decay=0.0, landmark_weight_decay=0.0)
    config.optimizer.landmark_warmup_epochs = epochs
    return supervised.grouped_optimizer(config, optax.constant_schedule(0.1), steps_per_epoch=2)


def test_landmark_network_sets_out_later():
    optimizer = landmarks_later((1, 3))
    params = {name: {"bias": jnp.zeros(1)} for name in ("landmark_network", "transformer")}
    state, moves = optimizer.init(params), {name: [] for name in params}
    for _ in range(8):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)  # Adam's steps are -1
        for name, update in updates.items():
            moves[name].append(float(update["bias"][0]))
    np.testing.assert_allclose(moves["transformer"], [-0.1] * 8, rtol=1e-4)
    np.testing.assert_allclose(moves["landmark_network"], -0.05 * np.array([0, 0, 0, 0.25, 0.5, 0.75, 1, 1]), rtol=1e-4)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    states = []
    for parts in (1, 2):
        method = tiny.make_method(tiny.make_config("finetune", **GRID, **{"optimizer.accumulation": parts}))
        state = jax.jit(method.init)(jax.random.key(0), tiny.make_batch())
        states.append(jax.jit(method.train_step)(state, tiny.make_batch(), jax.random.key(1))[0])
    # Moments are linear in the gradient.
    first, second = (state.opt_state[0].mu for state in states)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * max(float(jnp.abs(a).max()), 1e-7)),
        first,
        second,
    )


def test_a_label_that_is_no_class_makes_the_loss_nan(grid):
    _, state, step = grid
    batch = tiny.make_batch() | {"identity": jnp.full(tiny.BATCH, tiny.CLASSES)}
    assert jnp.isnan(step(state, batch, jax.random.key(1))[1]["total"])


def save(workdir, state):
    checkpoints = Checkpoints(workdir)
    checkpoints.save(1, state, iter(grain.MapDataset.range(2).to_iter_dataset()))
    checkpoints.close()


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Workdirs of a first and of a second stage, whose arrays tell where they are from."""
    folder = tmp_path_factory.mktemp("stages")
    states = {}
    for name in ("finetune", "lafs"):
        method = tiny.make_method(tiny.make_config(name))
        shapes = jax.eval_shape(method.init, jax.random.key(0), tiny.make_batch())
        rng = generator()
        state = jax.tree.map(lambda x, rng=rng: jnp.asarray(rng.uniform(size=x.shape), x.dtype), shapes)
        save(folder / name, state)
        states[name] = method, state
    return folder, states


def test_the_chain_of_stages(stages):
    folder, states = stages
    (_, first), (_, second) = states["finetune"], states["lafs"]
    landmarks = {
        "params": first.params["landmark_network"],
        "batch_stats": first.statistics["batch_stats"]["landmark_network"],
    }

    method = tiny.make_method(tiny.make_config("lafs", landmark_network=str(folder / "finetune")))
    fresh = jax.tree.map(jnp.zeros_like, second)
    loaded = method.start_from(fresh)
    tiny.assert_trees_equal(loaded.frozen["landmark_network"], landmarks)
    tiny.assert_trees_equal(loaded.params, fresh.params)

    sources = {"initialize_from.transformer": str(folder / "lafs")}
    for source in ("finetune", "lafs"):  # the second stage has the landmark network of the first in it
        sources["initialize_from.landmark_network"] = str(folder / source)
        method = tiny.make_method(tiny.make_config("finetune", **sources))
        loaded = method.start_from(jax.tree.map(jnp.zeros_like, first))
        tiny.assert_trees_equal(loaded.params["transformer"], second.target["params"]["transformer"])
        network = landmarks if source == "finetune" else second.frozen["landmark_network"]
        tiny.assert_trees_equal(loaded.params["landmark_network"], network["params"])
        tiny.assert_trees_equal(loaded.statistics["batch_stats"]["landmark_network"], network["batch_stats"])
        assert not loaded.params["classifier"].any()


def test_weights_that_do_not_fit(stages, tmp_path):
    folder, states = stages
    config = tiny.make_config("lafs", landmark_network=str(folder / "finetune"), **{"model.num_points": 9})
    method = tiny.make_method(config)
    state = jax.eval_shape(method.init, jax.random.key(0), tiny.make_batch())
    with pytest.raises(
        UserError, match=r"does not fit the model: params/output/bias: found \(32,\), the model has \(18,\)"
    ):
        method.start_from(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state))
    for source, message in (("nowhere", "there is no "), ("", "has no complete checkpoint")):
        method = tiny.make_method(tiny.make_config("lafs", landmark_network=str(tmp_path / source)))
        with pytest.raises(UserError, match=message):
            method.start_from(states["lafs"][1])
