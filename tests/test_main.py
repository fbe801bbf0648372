"""The whole program as a user runs it: from the command line, killed, restarted, and with what can be wrong."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_experiment

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 15  # of the tiny experiment


def command(folder, workdir, *overrides):
    config = f"--config={ROOT / 'tests/tiny_experiment.py'}:{folder}"
    return [sys.executable, "-m", "facejax.main", config, f"--workdir={workdir}", *overrides]


def start(*args, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(
        command(*args), cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(*args, **environment):
    process = start(*args, **environment)
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def failure(*args, **environment):
    """The one line that a run which fails says last."""
    code, _, stderr = run(*args, **environment)
    assert code == 2, stderr
    assert "Traceback" not in stderr
    return stderr.strip().splitlines()[-1]


def newest(workdir):
    steps = [int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    return max(steps, default=0)


def final_state(workdir):
    return ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(STEPS) / "state")


def assert_same_bits(workdir, reference):
    state, wanted = final_state(workdir), final_state(reference)
    flat = dict(ocp.tree.to_flat_dict(wanted, sep="/"))
    assert len(flat) > 50
    for name, value in ocp.tree.to_flat_dict(state, sep="/").items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(flat[name]), err_msg=name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "tiny"
    tiny_experiment.write_records(folder)
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    code, stdout, stderr = run(data, workdir)
    assert code == 0, stderr
    return workdir, stdout, stderr


def test_run_ends_with_the_table_and_leaves_its_record(finished):
    workdir, stdout, stderr = finished
    assert re.search(r"metric +untrained +trained +margin +better", stdout)
    results = json.loads((workdir / "results.json").read_text())
    assert results["steps"] == STEPS
    assert results["untrained"].keys() == results["trained"].keys() == {"identity/knn_accuracy"}
    for name in ("config.json", "versions.json", "parameters.txt", "tensorboard"):
        assert (workdir / name).exists()
    assert [path.name for path in sorted((workdir / "pictures").iterdir())] == [
        "step_00000000_fra.png", f"step_{STEPS:08d}_fra.png"
    ]  # fmt: skip
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()) == [12, 15]
    lines = re.findall(r"step (\d+)/15 .* total \d+\.\d+ .* learning_rate .* images/s .* ETA", stderr)
    assert [int(step) for step in lines] == list(range(1, STEPS + 1))


def test_run_that_is_complete_says_the_same_again(finished, data):
    workdir, stdout, _ = finished
    code, again, stderr = run(data, workdir)
    assert (code, again) == (0, stdout), stderr


def test_killed_at_three_random_moments_ends_with_the_same_bits(finished, data, tmp_path):
    moments = random.Random(int.from_bytes(os.urandom(4), "little"))
    workdir = tmp_path / "killed"
    waits = []
    for _ in range(3):
        process = start(data, workdir)
        before = newest(workdir)
        for line in process.stderr:
            if re.search(rf"step {before + moments.randint(1, 4)}/15", line):
                break
        waits.append(moments.uniform(0, 0.3))
        time.sleep(waits[-1])
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, _, stderr = run(data, workdir)
    assert code == 0, stderr
    print(f"waited {waits} s before the kill")
    assert_same_bits(workdir, finished[0])


def test_killed_while_a_checkpoint_is_written_goes_on_from_the_one_before(finished, data, tmp_path):
    workdir = tmp_path / "cut"
    process = start(data, workdir)
    unfinished = []
    while process.poll() is None and not unfinished:
        if newest(workdir) >= 3:
            unfinished = list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert unfinished, "the run ended before a save was seen under way"
    complete = newest(workdir)
    assert 3 <= complete < STEPS
    code, _, stderr = run(data, workdir)
    assert code == 0, stderr
    assert f"Going on from step {complete}," in stderr
    assert not list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    assert_same_bits(workdir, finished[0])


def test_sigterm_saves_and_leaves(finished, data, tmp_path):
    workdir = tmp_path / "stopped"
    process = start(data, workdir)
    for line in process.stderr:
        if "step 4/15" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, stderr = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    step = int(re.search(r"Asked to stop: step (\d+) is saved", stderr)[1])
    assert newest(workdir) == step < STEPS
    assert run(data, workdir)[0] == 0
    assert_same_bits(workdir, finished[0])


def test_what_is_wrong_is_said_in_one_line(finished, data, tmp_path):
    new, used = tmp_path / "new", finished[0]
    python = [sys.executable, "-m", "facejax.main", f"--workdir={new}"]
    missing = subprocess.run(
        [*python, "--config=experiments/none.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert missing.returncode == 2
    assert "there is no file experiments/none.py" in missing.stderr
    assert "Traceback" not in missing.stderr

    assert "no key 'batchsize'; did you mean 'batch_size'?" in failure(data, new, "--config.batchsize=8")
    no_folder = failure(data, new, "--config.data.folder=datasets/rafdb")
    assert "no data set at datasets/rafdb" in no_folder
    assert "python -m data_prep.rafdb" in no_folder
    assert "batch_size = 15 is not divisible by the 2 devices" in failure(
        data, new, "--config.batch_size=15", XLA_FLAGS="--xla_force_host_platform_device_count=2"
    )
    assert "config.image_size: 16 px" in failure(data, new, "--config.image_size=16")
    assert "batch_size" in failure(data, new, "--config.batch_size=64")
    assert "unknown method 'far'" in failure(data, new, "--config.method=far")
    assert not new.exists()
    assert "holds another config's run: seed was 0, is 1" in failure(data, used, "--config.seed=1")


def test_checkpoint_of_another_model_is_refused(finished, data, tmp_path):
    workdir = tmp_path / "other"
    code, _, stderr = run(data, workdir, "--config.epochs=1")
    assert code == 0, stderr
    (workdir / "config.json").unlink()
    config = json.loads((finished[0] / "config.json").read_text())
    config["model"]["hidden_dim"], config["epochs"] = 8, 1
    (workdir / "config.json").write_text(json.dumps(config))
    said = failure(data, workdir, "--config.epochs=1", "--config.model.hidden_dim=8")
    assert re.search(
        r"checkpoints/3: the checkpoint does not fit the model: .*: the checkpoint has .*16.* the model has .*8", said
    )


def test_loss_that_is_not_finite_stops_the_run(data, tmp_path):
    said = failure(
        data, tmp_path / "diverged", "--config.optimizer.learning_rate=1e30", "--config.checkpoint.every_steps=1"
    )
    assert re.search(r"the loss of step \d+ is (nan|inf); the last good checkpoint is step \d+ in ", said)


def test_demo_renders_its_faces_trains_and_compares(tmp_path):
    overrides = [
        "epochs=1",
        "batch_size=16",
        "model.width=4",
        "synthetic_faces.train_identities=8",
        "synthetic_faces.test_identities=6",
        "synthetic_faces.images_per_identity=4",
    ]
    config = f"--config={ROOT / 'experiments/fra_r50.py'}:demo"
    command = [sys.executable, "-m", "facejax.main", config, "--workdir=run", *(f"--config.{key}" for key in overrides)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "There is no datasets/synthetic_faces_64 yet: rendering" in done.stderr
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["trained"]
    wanted = {"expression/linear_accuracy", "identity/top1_accuracy", "attributes/mean_accuracy", "pose/mae"}
    assert wanted <= metrics.keys()
