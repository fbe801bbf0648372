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

from facejax import train
from facejax.data import few_shot, records
from facejax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
LOSSES_OF_THREE_STEPS = """
import json, sys
import jax
from facejax import methods, sharding, train
sys.path.insert(0, "tests")
import tiny_experiment

config = tiny_experiment.get_config(f"{sys.argv[1]},{sys.argv[2]}")
if sys.argv[3] == "fsdp":
    config.sharding = ((r"kernel$", "fsdp"),)
mesh = sharding.make_mesh(config.mesh)
source = train.open_training_split(config)
# The paper's run begins with steps far smaller than these: larger ones blow up what float32 rounds differently.
method = methods.create(config, steps_per_epoch=20, total_steps=100)
batch = train.abstract_batch(config, method, source)
initial_state, abstract_state = train.prepare_state(config, method, mesh, batch)
step = train.compile_step(method, mesh, batch, abstract_state)
order = train.training_order(config, source)
batches = train.training_batches(config, source, order, mesh, method.fields)
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
                    eight[name], one[name], rtol=1e-5, err_msg=f"{placement}, step {step}: {name}"
                )


@pytest.fixture
def faces(tmp_path):
    """Function that writes records with given identities and opens them."""

    def write(identities):
        rows = [{"identity": identity} for identity in identities]
        records.write(tmp_path / "faces", name="faces", features={"identity": np.int64}, splits={"train": rows})
        return records.open_split(tmp_path / "faces", "train")

    return write


def test_labels_that_are_no_classes(faces, caplog):
    source = faces([3, 0, 7, 3])
    with caplog.at_level(logging.WARNING):
        train.check_labels(source, {"identity": 8}, skip_corrupt=False)
        train.check_labels(source, {}, skip_corrupt=False)
    assert not caplog.records
    with pytest.raises(UserError, match=r"num_classes = 7 does not fit .*'identity'.*: they are 0 to 7; set it to 8"):
        train.check_labels(source, {"identity": 7}, skip_corrupt=False)
    with caplog.at_level(logging.WARNING):
        train.check_labels(source, {"identity": 9}, skip_corrupt=False)
    assert "num_classes = 9 does not fit" in caplog.text


def test_negative_labels(faces):
    with pytest.raises(UserError, match="they begin at -1"):
        train.check_labels(faces([-1, 5]), {"identity": 8}, skip_corrupt=False)


def test_labels_of_a_subset_are_counted_anew(faces):
    subset = few_shot.subset(faces([30, 30, 10, 20]), "identity", images_per_class=1)
    train.check_labels(subset, {"identity": 3}, skip_corrupt=False)
    with pytest.raises(UserError, match=r"num_classes = 2 .*set it to 3"):
        train.check_labels(subset, {"identity": 2}, skip_corrupt=False)


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
    assert hint in train.converter_hint(folder)
