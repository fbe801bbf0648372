"""The train step on one device and on eight: the same run."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import tiny_experiment

ROOT = pathlib.Path(__file__).parents[1]
LOSSES_OF_THREE_STEPS = """
import json, sys
import jax
from facejax import methods, sharding, train
sys.path.insert(0, "tests")
import tiny_experiment

config = tiny_experiment.get_config(sys.argv[1])
config.sharding = ((r"kernel$", "fsdp"),) if sys.argv[2] == "fsdp" else ()
mesh = sharding.make_mesh(config.mesh)
source = train.open_training_split(config)
# The paper's run begins with steps far smaller than these: larger ones blow up what float32 rounds differently.
method = methods.create(config, steps_per_epoch=20, total_steps=100)
step, initial_state, _ = train.compile_step(config, method, mesh, source)
order = train.training_order(config, source)
batches = train.training_batches(config, source, order, mesh, method.fields)
state, losses = initial_state(), []
for _ in range(3):
    state, metrics = step(state, next(batches), jax.random.key(1))
    losses.append({name: float(value) for name, value in metrics.items()})
print(json.dumps({"devices": mesh.size, "losses": losses}))
"""


def losses(folder, devices, placement="replicated"):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", LOSSES_OF_THREE_STEPS, str(folder), placement]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["devices"] == devices
    return told["losses"]


def test_eight_devices_and_sharded_parameters_give_the_losses_of_one(tmp_path):
    tiny_experiment.write_records(tmp_path / "tiny")
    alone = losses(tmp_path / "tiny", 1)
    for placement in ("replicated", "fsdp"):
        for step, (one, eight) in enumerate(zip(alone, losses(tmp_path / "tiny", 8, placement), strict=True)):
            for name in one:
                np.testing.assert_allclose(
                    eight[name], one[name], rtol=1e-5, err_msg=f"{placement}, step {step}: {name}"
                )
