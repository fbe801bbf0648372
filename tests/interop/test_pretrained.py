"""Weights of an earlier stage: out of its workdir, and checked by what is noted down about them."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_experiment

from facejax import checkpoints, methods
from facejax.errors import UserError
from facejax.interop import pretrained
from facejax.models import mobilenet


class Position:
    """Stands for a data iterator."""

    def get_state(self):
        return {"num_batches": 0}


def state_of(landmark_network):
    return {"params": {"w": jnp.ones(3)}, "frozen": {"landmark_network": landmark_network}, "center": jnp.zeros(2)}


def network(value):
    return {
        "params": {"output": {"kernel": jnp.full((4, 6), value)}},
        "batch_stats": {"norm": {"mean": jnp.arange(3.0)}},
    }


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Relative path of a workdir with two checkpoints."""
    run = checkpoints.Checkpoints(tmp_path / "stage1")
    for step in (1, 2):
        run.save(step, state_of(network(float(step))), Position())
    run.close()
    monkeypatch.chdir(tmp_path)
    return "stage1"


@pytest.fixture
def no_arrays(monkeypatch):
    """Any attempt to read arrays fails."""

    def fail(*_, **__):
        raise AssertionError("arrays are read")

    monkeypatch.setattr(checkpoints, "read_item", fail)


def assert_is(there, wanted):
    jax.tree.map(np.testing.assert_array_equal, there, jax.tree.map(np.asarray, wanted))


def test_newest_whole_checkpoint_at_a_relative_path(source, tmp_path, caplog):
    assert_is(pretrained.landmark_network(source), network(2.0))
    (tmp_path / "stage1" / "checkpoints" / "2" / "state" / "_METADATA").unlink()
    with caplog.at_level(logging.WARNING):
        assert_is(pretrained.landmark_network(source), network(1.0))
    assert "checkpoints/2 is damaged (state/_METADATA is missing): reading step 1 instead" in caplog.text
    assert (tmp_path / "stage1" / "checkpoints" / "2").exists()  # it belongs to another run
    (tmp_path / "stage1" / "checkpoints" / "1" / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"no checkpoint in \S+stage1/checkpoints is intact: 2: state/_METADATA is missing; 1:"
    ):
        pretrained.landmark_network(source)


def test_workdirs_that_hold_nothing_of_the_kind(source, tmp_path):
    with pytest.raises(UserError, match=r"holds none of .*transformer: it is a run of another kind"):
        pretrained.transformer(source, size="small", shapes_only=True)
    with pytest.raises(UserError, match=r"there is no \S+stage0: name the workdir"):
        pretrained.landmark_network("stage0")
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match=r"new has no complete checkpoint"):
        pretrained.landmark_network("new")


def test_shapes_are_read_without_arrays(source, no_arrays):
    there = pretrained.landmark_network(source, shapes_only=True)
    assert jax.tree.map(np.shape, there) == jax.tree.map(np.shape, network(0.0))


@pytest.fixture
def method(monkeypatch, source):
    """Function that makes a tiny LAFS that starts from `source`, by name of the config's changes."""
    monkeypatch.setattr(mobilenet, "BLOCKS", mobilenet.BLOCKS[:2])

    def create(**changes):
        config = tiny_experiment.lafs()
        config.landmark_network = source
        config.model.update(changes)
        return methods.create(config, steps_per_epoch=1, total_steps=config.epochs)

    return create


def test_check_of_the_start_compares_shapes_and_computes_nothing(method, source, no_arrays, tmp_path):
    with pytest.raises(
        UserError, match=r"stage1 does not fit the model: batch_stats/norm/mean: found \(3,\), the model has no"
    ):
        method().check_start()
    shapes = jax.eval_shape(method().init, jax.eval_shape(lambda: jax.random.key(0)), {})
    run = checkpoints.Checkpoints(tmp_path / source)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.frozen["landmark_network"])
    run.save(3, state_of(zeros), Position())
    run.close()
    method().check_start()
    with pytest.raises(
        UserError, match=r"stage1 does not fit the model: params/output/.*found .*18.*, the model has .*8.*"
    ):
        method(num_points=4).check_start()
