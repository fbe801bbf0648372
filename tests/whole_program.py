"""`python -m facejax.main` in processes of its own: run, killed, run again, and what it leaves compared."""

import dataclasses
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
import tiny_experiment

ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Program:
    """One experiment, started as often as a test likes.

    Attributes:
      config: the experiment file with its argument, as after `--config=`.
      compiled: folder in which all starts find what one of them compiled. It is the test's own: a process that is
        killed while it writes there leaves a broken entry.
    """

    config: str
    compiled: pathlib.Path

    def start(self, workdir, *overrides, flags=(), cwd=ROOT, **environment) -> subprocess.Popen:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # a few tiny steps take less time than optimising them
            **environment,
        }
        command = [sys.executable, "-m", "facejax.main", f"--config={self.config}", f"--workdir={workdir}"]
        command += ["--noreport", *flags, *(f"--config.{override}" for override in overrides)]
        return subprocess.Popen(
            command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def finish(self, workdir, *overrides, **settings) -> tuple[str, str]:
        """Stdout and stderr of a run that ends well and in which Python warns of nothing."""
        process = self.start(workdir, *overrides, **settings)
        stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert not re.search(r"\w+Warning: ", stderr), stderr
        return stdout, stderr

    def kill(self, workdir, step: int, *overrides, number=signal.SIGKILL) -> None:
        """A signal at a random moment in the tenth of a second after `step`; the run must not have ended by then."""
        process = self.start(workdir, *overrides)
        follow(process, rf"step {step}/")
        wait = random.SystemRandom().uniform(0, 0.1)
        time.sleep(wait)
        assert ended_by(process, number, workdir), "the run ended before it was killed"
        print(f"{number.name} {wait:.3f} s after step {step}, with step {newest(workdir)} saved")


def ended_by(process, number, workdir) -> bool:
    """Sends a signal to a run: whether it ends it, as it should, and not after the run has ended by itself."""
    process.send_signal(number)
    _, stderr = process.communicate()
    assert "Traceback" not in stderr, stderr
    if process.returncode == 0:
        return False
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), stderr
    if number != signal.SIGKILL:
        last = stderr.splitlines()[-1]
        step = re.search(r"Asked to stop: step (\d+) is saved; the same command resumes from there", last)
        assert step or last == "facejax: interrupted; the same command resumes from what is finished", stderr
        assert not step or newest(workdir) == int(step[1])
    return True


def tiny(method, records, compiled) -> Program:
    """A tiny experiment on records that `tiny_experiment.write_records` wrote."""
    return Program(f"{tiny_experiment.__file__}:{method},{records}", compiled)


def follow(process, pattern) -> list[str]:
    """Reads what a process tells until a line matches, or to the end; returns the lines."""
    told = []
    for line in process.stderr:
        told.append(line)
        if re.search(pattern, line):
            break
    return told


def failure(process) -> str:
    """The one line that a run which fails says last."""
    _, stderr = process.communicate()
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    return stderr.strip().splitlines()[-1]


def newest(workdir) -> int:
    """Step of the newest complete checkpoint, 0 if there is none."""
    steps = [int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    return max(steps, default=0)


def assert_same_bits(workdir, reference, steps: int) -> None:
    """The train states of two runs after all their steps are the same."""
    checkpointer = ocp.StandardCheckpointer()
    state, wanted = (
        dict(ocp.tree.to_flat_dict(checkpointer.restore(run / "checkpoints" / str(steps) / "state"), sep="/"))
        for run in (workdir, reference)
    )
    assert len(wanted) > 50
    assert state.keys() == wanted.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(wanted[name]), err_msg=name)
