"""The whole program as a user runs it: from the command line, killed, restarted, and with what can be wrong."""

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_experiment
from whole_program import ROOT, assert_same_bits, failure, follow, newest, tiny

from facejax import workdir_lock

STEPS = 15  # of the tiny experiment


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main")
    tiny_experiment.write_records(folder / "records")
    return tiny("fra", folder / "records", folder / "compiled")


@pytest.fixture(scope="module")
def finished(program, tmp_path_factory):
    """A run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    return workdir, *program.finish(workdir, flags=("--report",))


def test_run_ends_with_the_table_and_leaves_its_record(finished):
    workdir, stdout, stderr = finished
    assert re.search(r"metric +untrained +trained +gain +better", stdout)
    for name in ("results.json", "pictures", "tensorboard", "report.html"):
        assert str(workdir / name) in stdout
    results = json.loads((workdir / "results.json").read_text())
    assert results["steps"] == STEPS
    assert results["untrained"].keys() == results["trained"].keys() == {"identity/pooled/knn_accuracy"}
    for name in ("config.json", "versions.json", "parameters.txt", "tensorboard", "encoder", "report.html"):
        assert (workdir / name).exists()
    card = json.loads((workdir / "encoder" / "facejax.json").read_text())["card"]
    assert (card["steps"], card["metrics"]) == (STEPS, results["trained"])
    assert [path.name for path in sorted((workdir / "pictures").iterdir())] == [
        "step_00000000_fra.png", f"step_{STEPS:08d}_fra.png"
    ]  # fmt: skip
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()) == [12, 15]
    assert not (workdir / "run.lock").exists()
    lines = re.findall(r"step (\d+)/15 \(\d+%\)  loss \d+\.\d+  \d+ images/s  ETA [\d:]+$", stderr, re.MULTILINE)
    assert [int(step) for step in lines] == list(range(1, STEPS + 1))


def test_run_that_is_complete_says_the_same_again(finished, program):
    workdir, stdout, _ = finished
    again, _ = program.finish(workdir)
    assert stdout == f"{again}report    {workdir / 'report.html'}\n"


def test_killed_at_three_random_moments_ends_with_the_same_bits(finished, program, tmp_path):
    """More of them, and in other phases: kills.py."""
    workdir = tmp_path / "killed"
    for last, number in ((4, signal.SIGKILL), (9, signal.SIGTERM), (STEPS - 1, signal.SIGINT)):
        following = newest(workdir) + 1
        program.kill(workdir, random.SystemRandom().randint(following, max(following, last)), number=number)
    program.finish(workdir)
    assert_same_bits(workdir, finished[0], STEPS)


def test_killed_while_a_checkpoint_is_written_goes_on_from_the_one_before(finished, program, tmp_path):
    workdir = tmp_path / "cut"
    process = program.start(workdir)
    unfinished = []
    while process.poll() is None and not unfinished:
        if newest(workdir) >= 3:
            unfinished = list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert unfinished, "the run ended before a save was seen under way"
    complete = newest(workdir)
    assert 3 <= complete < STEPS
    _, told = program.finish(workdir)
    assert f"Going on from step {complete}," in told
    assert not list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    assert_same_bits(workdir, finished[0], STEPS)


def test_damaged_checkpoint_is_passed_over_for_the_one_before(finished, program, tmp_path):
    workdir = tmp_path / "damaged"
    shutil.copytree(finished[0], workdir)
    file = max((workdir / "checkpoints" / str(STEPS) / "state" / "d").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    _, told = program.finish(workdir)
    assert f"checkpoints/{STEPS} is damaged (the checksum of state/d/{file.name} differs)" in told
    assert "Going on from step 12," in told
    assert_same_bits(workdir, finished[0], STEPS)


def test_a_signal_before_the_loop_ends_a_run_in_one_line(program, tmp_path):
    program = dataclasses.replace(program, compiled=tmp_path / "nothing")
    faces = (f"--out={tmp_path / 'faces'}", "--size=16", "--train_identities=100000")  # enough for a slow machine too
    renderer = [sys.executable, "-m", "data_prep.synthetic_faces", *faces]
    cases = [  # all at once: most of their time they import
        (program.start(tmp_path / "0", PYTHONPROFILEIMPORTTIME="1"), r"\bjax\.", signal.SIGTERM),
        (program.start(tmp_path / "1"), "images, .*epochs", signal.SIGINT),
        (program.start(tmp_path / "2"), "Compiling the train step", signal.SIGTERM),
        (subprocess.Popen(renderer, cwd=ROOT, text=True, stderr=subprocess.PIPE), "renderer", signal.SIGINT),
    ]
    for process, phase, number in cases:
        told = follow(process, phase)
        if "import" not in told[-1]:
            time.sleep(0.5)  # in the middle of it
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 128 + number, stderr
        said = [line for line in stderr.splitlines() if not line.startswith("import time:")]
        assert re.fullmatch(r"\w+: interrupted; the same command resumes from what is finished", said[-1])
        assert "Traceback" not in stderr and "step 1/" not in stderr


def start_two(program, workdir):
    """Two processes of one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"--coordinator_address=localhost:{free.getsockname()[1]}"
    return [
        program.start(
            workdir,
            flags=(coordinator, "--num_processes=2", f"--process_id={index}"),
            JAX_CPU_COLLECTIVES_IMPLEMENTATION="gloo",
        )
        for index in range(2)
    ]


def test_two_processes_train_as_one(finished, program, tmp_path):
    processes = start_two(program, tmp_path / "run")
    told = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert ["untrained" in stdout for stdout, _ in told] == [True, False]
    assert newest(tmp_path / "run") == STEPS
    alone, first, second = (
        [float(value) for value in re.findall(r"step [123]/15 .* loss (\S+)", stderr)]
        for stderr in (finished[2], told[0][1], told[1][1])
    )
    assert first == second
    # As printed; later on the order of the sums tells.
    np.testing.assert_allclose(first, alone, rtol=1e-3)
    # Each has decoded a half of the images, and has the labels of all.
    untrained = [folder / "evaluations" / "step_00000000.json" for folder in (finished[0], tmp_path / "run")]
    one, two = (json.loads(file.read_text()) for file in untrained)
    assert two == pytest.approx(one, abs=1e-6) and one


def test_what_is_wrong_is_said_in_one_line(finished, program, tmp_path):
    new, used, locked = tmp_path / "new", finished[0], tmp_path / "locked"
    two_devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    elsewhere = dataclasses.replace(program, config="experiments/none.py")
    supervised = dataclasses.replace(program, config=program.config.replace(":fra,", ":supervised,"))
    cases = [  # all at once: most of their time they import
        (elsewhere.start(new), "there is no file experiments/none.py"),
        (program.start(new, "batchsize=8"), "no key 'batchsize'; did you mean 'batch_size'?"),
        (program.start(new, "data.folder=datasets/rafdb"), "no data set at .*/rafdb; .*python -m data_prep.rafdb"),
        (program.start(new, "batch_size=15", **two_devices), "batch_size = 15 is not divisible by the 2 devices"),
        (program.start(new, "image_size=8"), "config.image_size = 8: "),
        (program.start(new, "batch_size=64"), "batch_size"),
        (program.start(new, "view1.flip=1.5"), r"config\.view1\.flip = 1\.5: must be a probability, 0 to 1 \("),
        (program.start(new, "method=far"), "config.method = 'far': unknown method"),
        (supervised.start(new, "data.images_per_class=0", "classifier.num_classes=7"), "0 to 7; set it to 8"),
        (program.start(new, flags=("--num_processes=2", "--process_id=0")), "without --coordinator_address"),
        (program.start(used, "seed=1"), "holds another config's run: seed was 0, is 1"),
    ]
    with workdir_lock.held(locked):
        in_use = f"{locked} is in use by process {os.getpid()} on "
        cases += [(process, in_use) for process in start_two(program, locked)]
        for process, wanted in cases:
            assert re.search(wanted, failure(process))
    assert not new.exists()
    assert not list(locked.iterdir())


def test_checkpoint_of_another_model_is_refused(finished, program, tmp_path):
    workdir = tmp_path / "other"
    shutil.copytree(finished[0], workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["hidden_dim"] = 8
    (workdir / "config.json").write_text(json.dumps(config))
    said = failure(program.start(workdir, "model.hidden_dim=8"))
    assert re.search(
        r"checkpoints/15: the checkpoint does not fit the model: .*: the checkpoint has .*16.* the model has .*8", said
    )


def test_loss_that_is_not_finite_stops_the_run(program, tmp_path):
    said = failure(program.start(tmp_path, "optimizer.learning_rate=1e30", "checkpoint.every_steps=1"))
    assert re.search(r"the loss of step \d+ is (nan|inf); the last good checkpoint is step \d+ in ", said)


def test_help_shows_an_example_first_and_is_no_failure():
    commands = ["facejax.main", "facejax.report", "experiments.lafs_chain"]
    commands += ["data_prep.synthetic_faces", "data_prep.browse"]
    helping = [  # all at once: most of their time they import
        subprocess.Popen([sys.executable, "-m", name, "--help"], cwd=ROOT, text=True, stdout=subprocess.PIPE)
        for name in commands
    ]
    shown = [process.communicate()[0] for process in helping]
    assert [process.returncode for process in helping] == [0] * len(commands)
    example, flags = (shown[0].index(text) for text in ("python -m facejax.main --config=experiments/", "--workdir:"))
    assert example < flags
    assert all("usage: python -m" in text for text in shown[1:])
