"""How processes find each other, and what is said when they do not; two that do: test_main.py."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from facejax import cluster
from facejax.errors import UserError

JOIN = """
import sys
from absl import logging
from facejax import cluster
from facejax.errors import report_user_errors

logging.set_verbosity(logging.INFO)
cluster.NOTICE = 1
with report_user_errors("facejax"):
    cluster.join(sys.argv[1], 2, int(sys.argv[2]), timeout=3)
"""


@pytest.fixture
def address():
    """A port of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 2, 0), "--num_processes and --process_id without --coordinator_address: give all three"),
        ((None, 2, None), "--num_processes without --coordinator_address and --process_id"),
        ((None, None, 0), "--process_id without --coordinator_address and --num_processes"),
        (("host:8476", None, 1), "--coordinator_address and --process_id without --num_processes"),
        (("host:8476", 2, None), "--coordinator_address and --num_processes without --process_id"),
        (("host", 2, 1), "--coordinator_address=host: must be HOST:PORT"),
        (("host:https", 2, 1), "--coordinator_address=host:https: must be HOST:PORT"),
        ((":8476", 2, 1), "--coordinator_address=:8476: must be HOST:PORT"),
        (("host:65536", 2, 1), "must be HOST:PORT"),
        (("", 2, 1), "must be HOST:PORT"),
        (("host:8476", 0, 0), "--num_processes=0: must be at least 1"),
        (("host:8476", 2, 2), "--process_id=2: must be 0 to 1, as --num_processes=2"),
        (("host:8476", 2, -1), "--process_id=-1: must be 0 to 1"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(UserError, match=message):
        cluster.join(*arguments)


def test_timeout_that_makes_no_sense():
    with pytest.raises(UserError, match="--coordinator_timeout=0: must be at least 1 second"):
        cluster.join(timeout=0)


def test_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        address = f"localhost:{other.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"{address}: process 0 cannot listen on port \d+: Address already in use"):
            cluster.join(address, 2, 0)


def test_processes_that_do_not_come_are_given_up(address):
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    host, port = address.split(":")
    where = [address, f"{host}:{int(port) + 1}"]  # each alone
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, at, str(index)], env=environment, text=True, stderr=subprocess.PIPE
        )
        for index, at in enumerate(where)
    ]
    waited = [f"all 2 processes to connect to {where[0]}", f"process 0 at {where[1]}"]
    for process, whom in zip(processes, waited, strict=True):
        _, stderr = process.communicate(timeout=120)
        notice, line = (line for line in stderr.splitlines() if "proxy variable" not in line)
        assert notice.endswith(f"Still waiting for {whom}; giving up after 3 s in all")
        assert line.startswith(f"facejax: waited 3 s (--coordinator_timeout) for {whom}: check that")
        assert process.returncode == 2
