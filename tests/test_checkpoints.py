import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import checkpoints
from facejax.errors import UserError


class Position:
    """Stands for a data iterator."""

    def __init__(self, at):
        self.at = at

    def get_state(self):
        return json.dumps(self.at).encode()

    def set_state(self, state):
        self.at = json.loads(state)

    def start_prefetch(self):
        pass


def state(seed, width=3):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "params": {"w": jax.random.normal(keys[0], (4, width))},
        "rng": jax.random.key_data(keys[1]),
        "step": jnp.int32(seed),
    }


@pytest.fixture
def saved(tmp_path):
    """A run with checkpoints 1, 2, 3, 4 of which it keeps two, and every multiple of 3."""
    run = checkpoints.Checkpoints(tmp_path, keep=1, keep_period=3)
    for step in (1, 2, 3, 4):
        run.save(step, state(step), Position(step * 10))
    run.close()
    again = checkpoints.Checkpoints(tmp_path, keep=1, keep_period=3)  # as after a restart
    yield again
    again.close()


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def test_what_comes_back_is_what_was_saved_to_the_bit(saved):
    position = Position(0)
    restored = saved.restore(4, abstract(state(0)), position)
    jax.tree.map(np.testing.assert_array_equal, restored, state(4))
    assert position.at == 40


def test_retention(saved):
    assert sorted(int(path.name) for path in saved.folder.iterdir() if path.name.isdigit()) == [3, 4]
    assert saved.newest == 4


def test_a_save_that_was_cut_off_does_not_count(tmp_path):
    run = checkpoints.Checkpoints(tmp_path)
    run.save(7, state(7), Position(7))
    run.close()
    complete = tmp_path / "checkpoints" / "7"
    unfinished = tmp_path / "checkpoints" / "8.orbax-checkpoint-tmp"
    unfinished.mkdir()
    for file in complete.rglob("*"):
        if file.is_file():
            (unfinished / file.name).write_bytes(file.read_bytes()[:10])
    again = checkpoints.Checkpoints(tmp_path)
    assert again.newest == 7
    again.close()


def test_other_model_is_refused_with_the_first_array_that_differs(saved):
    with pytest.raises(
        UserError, match=r"checkpoints/4: .* params/w: the checkpoint has \(4, 3\), the model has \(4, 5\)"
    ):
        saved.restore(4, abstract(state(0, width=5)), Position(0))
    wider = abstract(state(0)) | {"target": abstract(state(0))["params"]}
    with pytest.raises(UserError, match=r"target/w: the checkpoint lacks it"):
        saved.restore(4, wider, Position(0))
