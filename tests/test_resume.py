"""Runs of the methods that are killed and started again end with the bits of runs that nothing disturbed.

FRA's, and the other ways for a run to end, are in test_main.py.
"""

import random

import pytest
import tiny_experiment
from whole_program import assert_same_bits, tiny

STEPS = 12


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """`program(method)`, on records that are written once, with what is compiled kept for the module."""
    folder = tmp_path_factory.mktemp("resume")
    tiny_experiment.write_records(folder / "records")
    return lambda method: tiny(method, folder / "records", folder / "compiled")


@pytest.fixture(scope="module")
def supervised_run(program, tmp_path_factory):
    """An undisturbed run of supervised recognition, LAFS' first stage."""
    workdir = tmp_path_factory.mktemp("supervised") / "undisturbed"
    program("supervised").finish(workdir)
    return workdir


def assert_survives_sigkill(program, undisturbed, *overrides):
    """Step 7 comes after the save of step 6, which waits until step 3 is saved: there is something to go on from."""
    workdir = undisturbed.parent / "killed"
    program.kill(workdir, random.SystemRandom().randint(7, STEPS - 1), *overrides)
    _, told = program.finish(workdir, *overrides)
    assert "Going on from step" in told
    assert_same_bits(workdir, undisturbed, STEPS)


def test_supervised(program, supervised_run):
    assert_survives_sigkill(program("supervised"), supervised_run)


def test_lafs_after_supervised(program, supervised_run, tmp_path):
    landmarks = f"landmark_network={supervised_run}"
    program("lafs").finish(tmp_path / "undisturbed", landmarks)
    assert_survives_sigkill(program("lafs"), tmp_path / "undisturbed", landmarks)


def test_pcl(program, tmp_path):
    program("pcl").finish(tmp_path / "undisturbed")
    assert_survives_sigkill(program("pcl"), tmp_path / "undisturbed")
