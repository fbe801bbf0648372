"""The train step on one device and on eight is the same; labels have to be classes of the method."""

import json
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny_experiment

from experiments import fra_r50, part_fvit_supervised, pcl_voxceleb
from facejax import train, training_data
from facejax.data import embedded, few_shot, records
from facejax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
# In float64, where only the order of sums differs: float32 parts the runs after a step or two.
LOSSES_OF_THREE_STEPS = """
import json, sys
import jax, jax.numpy as jnp
jnp.float32 = jnp.float64  # before anything else reads it: what is float32 by design would round
from facejax import methods, sharding, train, training_data
sys.path.insert(0, "tests")
import tiny_experiment

config = tiny_experiment.get_config(f"{sys.argv[1]},{sys.argv[2]}")
config.dtype = "float64"
if sys.argv[3] == "fsdp":
    config.sharding = ((r"kernel$", "fsdp"),)
mesh = sharding.make_mesh(config.mesh)
# The paper's run begins with steps far smaller than these: larger ones blow up what float32 rounds differently.
method = methods.create(config, steps_per_epoch=20, total_steps=100)
_, source, order = training_data.prepare(config, {}, method)
batch = training_data.abstract_batch(config, method, source)
initial_state, abstract_state = train.prepare_state(config, method, mesh, batch)
step = train.compile_step(method, mesh, batch, abstract_state)
batches = training_data.batches(config, source, order, mesh, method.fields)
state, losses = initial_state(), []
for _ in range(3):
    state, metrics = step(state, next(batches), jax.random.key(1))
    losses.append({name: float(value) for name, value in metrics.items()})
print(json.dumps({"devices": mesh.size, "losses": losses}))
"""


def losses(method, folder, devices, placement="as configured"):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # three tiny steps take less time than optimising them
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", LOSSES_OF_THREE_STEPS, method, str(folder), placement]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["devices"] == devices
    return told["losses"]


@pytest.mark.parametrize(
    ("method", "placements"),
    [("fra", ("as configured", "fsdp")), ("lafs", ("as configured",)), ("supervised", ("as configured",))],
)
def test_eight_devices_and_sharded_parameters_give_the_losses_of_one(tmp_path, method, placements):
    """`supervised` splits the rows of its classifier; PCL is in methods/test_pcl_sharding.py."""
    folder = tmp_path / "tiny"
    tiny_experiment.write_records(folder)
    alone = losses(method, folder, 1)
    for placement in placements:
        for step, (one, eight) in enumerate(zip(alone, losses(method, folder, 8, placement), strict=True)):
            for name in one:
                np.testing.assert_allclose(
                    eight[name], one[name], rtol=1e-10, err_msg=f"{placement}, step {step}: {name}"
                )


@pytest.fixture
def faces(tmp_path):
    """Function that writes records with given identities and opens them."""

    def write(identities):
        rows = [{"identity": identity} for identity in identities]
        records.write(tmp_path / "faces", records.Info("faces", {"identity": np.int64}), {"train": rows})
        return records.open_split(tmp_path / "faces", "train")

    return write


def test_labels_that_are_no_classes(faces, caplog):
    source = faces([3, 0, 7, 3])
    with caplog.at_level(logging.WARNING):
        training_data.check_labels(source, {"identity": 8}, skip_corrupt=False)
        training_data.check_labels(source, {}, skip_corrupt=False)
    assert not caplog.records
    with pytest.raises(UserError, match=r"num_classes = 7 does not fit .*'identity'.*: they are 0 to 7; set it to 8"):
        training_data.check_labels(source, {"identity": 7}, skip_corrupt=False)
    with caplog.at_level(logging.WARNING):
        training_data.check_labels(source, {"identity": 9}, skip_corrupt=False)
    assert "num_classes = 9 does not fit" in caplog.text


def test_negative_labels(faces):
    with pytest.raises(UserError, match="they begin at -1"):
        training_data.check_labels(faces([-1, 5]), {"identity": 8}, skip_corrupt=False)


def test_labels_of_a_subset_are_counted_anew(faces):
    subset = few_shot.subset(faces([30, 30, 10, 20]), "identity", images_per_class=1)
    training_data.check_labels(subset, {"identity": 3}, skip_corrupt=False)
    with pytest.raises(UserError, match=r"num_classes = 2 .*set it to 3"):
        training_data.check_labels(subset, {"identity": 2}, skip_corrupt=False)


@pytest.mark.parametrize(
    ("folder", "hint"),
    [
        ("datasets/rafdb", "python -m data_prep.rafdb --source=DIR --out=datasets/rafdb"),
        ("gs://faces/ms1mv3", "python -m data_prep.mxnet_records --source=DIR --out=gs://faces/ms1mv3"),
        ("my/own.faces", "docs/data_sets.md"),
        ("my/nothing", "docs/data_sets.md"),
    ],
)
def test_what_converts_a_data_set(folder, hint):
    assert hint in training_data.converter_hint(folder)


@pytest.mark.parametrize(
    ("experiment", "changes", "message"),
    [
        (fra_r50, {"view1.flip": 1.5}, r"config\.view1\.flip = 1\.5"),
        (fra_r50, {"batch_size": 3008}, r"synthetic_faces_64 \(train\), to be rendered: 3000 records are fewer than"),
        (fra_r50, {"data.split": "training"}, r"has no split 'training'; it has train, test"),
        (fra_r50, {"evaluations.pose.label": "poise"}, r"evaluations\.pose: .* has no field 'poise'; it has: .*pose"),
        (fra_r50, {"evaluations.pose.groups": "who"}, r"evaluations\.pose: .* has no field 'who'"),
        (fra_r50, {"evaluations.pose.data": "datasets/biwi"}, r"no data set at .*datasets/biwi; .*data_prep\.biwi"),
        (fra_r50, {"data.folder": "datasets/none"}, r"no data set at .*datasets/none"),
        (pcl_voxceleb, {"data.hierarchy": ("video",)}, r"hierarchy: .* has no field 'video'"),
        (pcl_voxceleb, {"batches.face": 256, "batch_size": 304}, r"has 250 items .*fewer than the 2\d\d of a batch"),
        (part_fvit_supervised, {"classifier.num_classes": 249}, r"they are 0 to 249; set it to 250"),
        (part_fvit_supervised, {"data.label": "age"}, r"has no field 'age'"),
    ],
)
def test_what_is_wrong_is_found_before_faces_are_rendered(experiment, changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "generate", lambda *_, **__: pytest.fail("rendered"))
    config = experiment.get_config("demo")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        train.train(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_is_right_is_rendered(tmp_path, monkeypatch):
    class Rendered(Exception):
        pass

    def render(*_, **__):
        raise Rendered

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "generate", render)
    for experiment in (fra_r50, pcl_voxceleb, part_fvit_supervised):
        with pytest.raises(Rendered):
            train.train(experiment.get_config("demo"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
