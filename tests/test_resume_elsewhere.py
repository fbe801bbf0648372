"""A run resumes on another number of devices and hosts, and with its parameters placed in another way."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import tiny_experiment

ROOT = pathlib.Path(__file__).parents[1]
TRAIN_UNTIL = """
import contextlib, json, signal, sys
import jax
from absl import logging
from facejax import cluster, sharding, train
sys.path.insert(0, "tests")
import tiny_experiment

folder, placement, processes, index, coordinator, *runs = sys.argv[1:]
cluster.join(coordinator, int(processes), int(index))
config = tiny_experiment.get_config(f"fra,{folder}")
config.optimizer.learning_rate /= 100  # larger steps blow up what float32 rounds differently
config.checkpoint.every_steps = 100  # the last step is saved
if placement == "fsdp":
    config.sharding = ((r"kernel$", "fsdp"),)
    sharding.SMALLEST_SHARDED = 2

def run(workdir, until):
    losses = {}

    class Recorder(train.Reporter):
        def scalars(self, step, values):
            losses[step] = values["total"]

    @contextlib.contextmanager
    def stop_signals():
        yield lambda: signal.SIGTERM if until in losses else 0

    def state_shardings(*args, placed=sharding.state_shardings):
        shardings = placed(*args)
        assert any(s.is_fully_replicated for s in jax.tree.leaves(shardings))
        assert (placement == "fsdp") == any(not s.is_fully_replicated for s in jax.tree.leaves(shardings))
        return shardings

    train.Reporter, train.stop_signals, sharding.state_shardings = Recorder, stop_signals, state_shardings
    train.Evaluator.kept = lambda self, step: {}  # evaluations would only take long to compile
    with contextlib.suppress(SystemExit):
        train.train(config, workdir)
    return losses

print(json.dumps([run(workdir, int(until)) for workdir, until in (run.split(":") for run in runs)]))
"""


def train_until(folder, *runs, devices, placement="replicated", processes=1):
    """{step: loss} of `WORKDIR:STEP` for each of the runs, on so many devices of each process."""
    environment = os.environ | {
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # a few tiny steps take less time than optimising them
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-c", TRAIN_UNTIL, str(folder), placement, str(processes)]
    started = [
        subprocess.Popen(
            [*command, str(index), coordinator, *runs],
            cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for index in range(processes)
    ]  # fmt: skip
    told = [process.communicate() for process in started]
    assert not any(process.returncode for process in started), told
    return [{int(step): loss for step, loss in run.items()} for run in json.loads(told[0][0].splitlines()[-1])]


def test_losses_are_those_of_a_run_that_stays_on_one_device(tmp_path):
    """Eight devices of two hosts, then four with sharded parameters, then one; steps of three epochs."""
    folder, moved, stayed = tmp_path / "records", tmp_path / "moved", tmp_path / "stayed"
    tiny_experiment.write_records(folder)
    (first,) = train_until(folder, f"{moved}:2", devices=4, processes=2)
    (second,) = train_until(folder, f"{moved}:5", devices=4, placement="fsdp")
    third, alone = train_until(folder, f"{moved}:7", f"{stayed}:7", devices=1)
    assert [*first, *second, *third] == [*alone] == [1, 2, 3, 4, 5, 6, 7]
    losses = first | second | third
    np.testing.assert_allclose([losses[step] for step in alone], [*alone.values()], rtol=1e-4)
