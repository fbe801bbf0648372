import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
FAILING = """
import pytest
from random_inputs import generator

@pytest.fixture(scope="module")
def shared():
    return generator().random()

def test_first(shared):
    raise AssertionError(f"drawn: {shared} {generator().random()}")

def test_second(shared):
    raise AssertionError(f"drawn: {shared} {generator().random()} {generator().random()}")
"""


def test_a_failure_says_how_its_inputs_can_be_had_again(tmp_path):
    (tmp_path / "test_failing.py").write_text(FAILING)

    def fail(*flags):
        command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", *flags]
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        output = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
        return re.findall(r"^E .*drawn: (.*)", output, re.MULTILINE), set(re.findall(r"--randomly-seed=\d+", output))

    drawn, flags = fail()
    assert len(flags) == 1
    numbers = " ".join(drawn).split()
    assert len(numbers) == 5 and len(set(numbers)) == 4  # nothing is drawn twice but the fixture
    assert fail(*flags)[0] == drawn
    assert fail()[0] != drawn


def test_every_random_input_has_a_seed():
    unseeded = re.compile(r"default_rng\(\)|RandomState\(\)")
    files = [path for path in HERE.rglob("*.py") if path != pathlib.Path(__file__)]
    assert [path.name for path in files if unseeded.search(path.read_text())] == []
