"""A run resumes on another number of devices and hosts, and with its parameters placed in another way."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import tiny_experiment

from facejax.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[1]
TRAIN_UNTIL = """
import contextlib, json, signal, sys
import jax
from facejax import sharding, train
sys.path.insert(0, "tests")
import tiny_experiment

folder, placement, *runs = sys.argv[1:]
config = tiny_experiment.get_config(f"fra,{folder}")
config.optimizer.learning_rate /= 100  # larger steps blow up what float32 rounds differently
config.checkpoint.every_steps = 100  # the last step is saved
if placement == "fsdp":
    config.sharding = ((r"kernel$", "fsdp"),)
    sharding.SMALLEST_SHARDED = 2

def state_shardings(*args, placed=sharding.state_shardings):
    shardings = placed(*args)
    assert (placement == "fsdp") == any(not s.is_fully_replicated for s in jax.tree.leaves(shardings))
    return shardings

sharding.state_shardings = state_shardings
train.Evaluator.cached = lambda self, step: {}  # evaluations would only take long to compile

def run(workdir, until):
    losses = {}

    class Recorder(train.Reporter):
        def scalars(self, step, values):
            losses[step] = values["total"]

    @contextlib.contextmanager
    def stop_signals():
        yield lambda: signal.SIGTERM if until in losses else 0

    train.Reporter, train.stop_signals = Recorder, stop_signals
    with contextlib.suppress(SystemExit):
        train.train(config, workdir)
    return losses

print(json.dumps([run(workdir, int(until)) for workdir, until in (run.split(":") for run in runs)]))
"""
SAVE_ON_TWO_HOSTS = """
import sys
import jax
import numpy as np
from facejax import cluster, sharding
from facejax.checkpoints import Checkpoints

class Position:
    def get_state(self):
        return {"num_batches": 7}

workdir, coordinator, index = sys.argv[1:]
cluster.join(coordinator, 2, int(index))
placement = sharding.batch_sharding(sharding.make_mesh({"data": -1}))
rows = np.arange(12, dtype="float32").reshape(4, 3)
checkpoints = Checkpoints(workdir)
checkpoints.save(1, {"rows": jax.make_array_from_callback(rows.shape, placement, lambda part: rows[part])}, Position())
checkpoints.close()
"""


def start(script, *arguments, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def train_until(folder, *runs, devices, placement="replicated"):
    """{step: loss} of `WORKDIR:STEP` for each of the runs, on so many devices."""
    process = start(
        TRAIN_UNTIL, folder, placement, *runs,
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",  # a few tiny steps take less time than optimising them
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
    )  # fmt: skip
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return [{int(step): loss for step, loss in run.items()} for run in json.loads(stdout.splitlines()[-1])]


def test_losses_are_those_of_a_run_that_stays_on_one_device(tmp_path):
    """Eight devices, then four with sharded parameters, then one; the seven steps are of three epochs."""
    folder, moved, stayed = tmp_path / "records", tmp_path / "moved", tmp_path / "stayed"
    tiny_experiment.write_records(folder)
    (first,) = train_until(folder, f"{moved}:2", devices=8)
    (second,) = train_until(folder, f"{moved}:5", devices=4, placement="fsdp")
    third, alone = train_until(folder, f"{moved}:7", f"{stayed}:7", devices=1)
    assert [*first, *second, *third] == [*alone] == [1, 2, 3, 4, 5, 6, 7]
    losses = first | second | third
    np.testing.assert_allclose([losses[step] for step in alone], [*alone.values()], rtol=1e-4)


def test_one_host_reads_what_two_have_saved(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    hosts = [
        start(SAVE_ON_TWO_HOSTS, tmp_path, coordinator, index, JAX_CPU_COLLECTIVES_IMPLEMENTATION="gloo")
        for index in range(2)
    ]
    said = [host.communicate()[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], "\n".join(said)

    class Position:
        def set_state(self, state):
            self.state = state

    position, here = Position(), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    checkpoints = Checkpoints(tmp_path)
    state = checkpoints.restore(1, {"rows": jax.ShapeDtypeStruct((4, 3), jnp.float32, sharding=here)}, position)
    checkpoints.close()
    np.testing.assert_array_equal(state["rows"], np.arange(12).reshape(4, 3))
    assert position.state == {"num_batches": 7}
