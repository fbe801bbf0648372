"""Kills tiny runs at random moments and starts them again: they end with the bits of runs that nothing disturbed.

    python tests/kills.py [--count=30] [--seed=N] [--methods=fra,pcl,lafs]

SIGKILL, SIGTERM and Ctrl-C, at any moment from the first line that a run logs to its last. Takes some twenty minutes
on two cores; tests of a few kills are in test_main.py and test_resume.py.
"""

import argparse
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import tiny_experiment  # noqa: E402
from whole_program import assert_same_bits, ended_by, follow, newest, tiny  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def disturb(program, folder, *overrides, count: int, rng: random.Random) -> None:
    """Kills runs `count` times and asserts that each ends with the bits of a run that nothing disturbed.

    Args:
      program: a `whole_program.Program`.
      folder: gets the workdirs.
      *overrides: `key=value` of the config.
      count: of kills; a run that ends before the next one is followed by a new run.
      rng: of the moments and signals.
    """
    undisturbed = folder / "undisturbed"
    program.finish(undisturbed, *overrides)
    steps = newest(undisturbed)
    began = time.monotonic()
    program.finish(folder / "timed", *overrides)  # nothing is compiled any more, as in the runs below
    duration = time.monotonic() - began
    assert_same_bits(folder / "timed", undisturbed, steps)
    kills = runs = 0
    while kills < count:
        workdir, runs, ended = folder / f"killed_{runs}", runs + 1, False
        while kills < count and not ended:
            process = program.start(workdir, *overrides)
            follow(process, "")  # a signal before that is the interpreter's
            number, moment = rng.choice(SIGNALS), rng.uniform(0, duration)
            try:
                process.communicate(timeout=moment)
                ended = True
                assert process.returncode == 0
            except subprocess.TimeoutExpired:
                ended = not ended_by(process, number, workdir)
            if not ended:
                kills += 1
                print(f"{kills:3}: {number.name} after {moment:.2f} s, step {newest(workdir)} saved", flush=True)
        program.finish(workdir, *overrides)
        assert_same_bits(workdir, undisturbed, steps)
        print(f"{workdir.name}: final bits equal, step {steps}", flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=30, help="kills of all methods together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--methods", default="fra,pcl,lafs", help="of fra, pcl, lafs, supervised")
    args = parser.parse_args()
    methods = args.methods.split(",")
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tiny_experiment.write_records(folder / "records")
        for index, method in enumerate(methods):
            overrides = []
            if method == "lafs":
                tiny("supervised", folder / "records", folder / "compiled").finish(folder / "landmarks")
                overrides = [f"landmark_network={folder / 'landmarks'}"]
            count = len(range(index, args.count, len(methods)))
            print(f"{method}: {count} kills", flush=True)
            program = tiny(method, folder / "records", folder / "compiled")
            disturb(program, folder / method, *overrides, count=count, rng=rng)


if __name__ == "__main__":
    main()
