"""Two runs in one workdir: who gets the lock, and when it is taken over. Machines are stood in for by other names."""

import logging
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from facejax import workdir_lock
from facejax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
HOLDER = """
import sys, time
from facejax import workdir_lock
with workdir_lock.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["file system", "bucket"])
def quick(request, monkeypatch):
    """Waits of a second or less, with either kind of lock."""
    for name, seconds in {"HEARTBEAT": 0.1, "LEASE": 1.0, "POLL": 0.05, "SETTLING": 0.05}.items():
        monkeypatch.setattr(workdir_lock, name, seconds)
    if request.param == "bucket":
        monkeypatch.setattr(workdir_lock, "FileLease", workdir_lock.BucketLease)


def test_second_run_is_refused_with_the_holders_name_until_the_first_has_ended(quick, tmp_path):
    workdir = tmp_path / "new" / "run"
    for ending in (None, ValueError, KeyboardInterrupt, SystemExit):
        try:
            with workdir_lock.held(workdir) as check:
                holder = f"process {os.getpid()} on {socket.gethostname()}"
                with pytest.raises(UserError, match=rf"{workdir} is in use by {holder}: .*another --workdir"):
                    workdir_lock.held(workdir).__enter__()
                check()
                if ending:
                    raise ending
        except BaseException as error:
            assert type(error) is ending
        assert not list(workdir.iterdir())


@pytest.fixture
def elsewhere(quick, tmp_path):
    """Workdir with the lock of a run on another machine, which gives no more sign of life."""
    with workdir_lock.held(tmp_path):
        content = (tmp_path / "run.lock").read_text()
    (tmp_path / "run.lock").write_text(content.replace(socket.gethostname(), "elsewhere"))
    return tmp_path


def test_run_elsewhere_that_is_silent_is_replaced(elsewhere, caplog):
    with caplog.at_level(logging.INFO, logger="absl"), workdir_lock.held(elsewhere) as check:
        time.sleep(3 * workdir_lock.HEARTBEAT)
        check()
    waiting, replacing = [record.getMessage() for record in caplog.records]
    assert "run.lock is held by process" in waiting and "on elsewhere" in waiting
    assert "this run takes over" in replacing


def test_run_elsewhere_that_lives_is_not_replaced(elsewhere):
    file, stopped = elsewhere / "run.lock", threading.Event()

    def beat():
        beats = 10
        while not stopped.wait(0.1):
            beats += 1
            file.with_name("next").write_text(re.sub(r'"beats": \d+', f'"beats": {beats}', file.read_text()))
            file.with_name("next").replace(file)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UserError, match=r"in use by process .* on elsewhere"):
            workdir_lock.held(elsewhere).__enter__()
    finally:
        stopped.set()
        thread.join()


def test_run_that_stood_still_and_was_replaced_is_told(quick, tmp_path):
    file, other = tmp_path / "run.lock", tmp_path / "other"
    with workdir_lock.held(tmp_path) as check:
        content = file.read_text().replace(socket.gethostname(), "elsewhere")
        other.write_text(re.sub(r'("run": "|token=)\w+', r"\g<1>0123", content))
        other.replace(file)
        with pytest.raises(UserError, match=r"taken over by process .* on elsewhere while this run was suspended"):
            for _ in range(100):
                time.sleep(0.1)
                check()
    assert file.exists()  # the other's


def test_killed_run_is_replaced_at_once(tmp_path, monkeypatch):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "run.lock").exists()
    monkeypatch.setattr(workdir_lock.time, "sleep", lambda _: pytest.fail("it waited"))
    with workdir_lock.held(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"\xff\0"])
def test_damaged_lock_is_replaced(quick, tmp_path, monkeypatch, content):
    monkeypatch.setattr(workdir_lock, "LEASE", 3.0)  # filelock waits for 2 s to see whether a file is half written
    (tmp_path / "run.lock").write_bytes(content)
    with workdir_lock.held(tmp_path) as check:
        check()


def test_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*file/run/run.lock: Not a directory"):
        workdir_lock.held(tmp_path / "file" / "run").__enter__()
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(UserError, match=r"run.lock is a folder"):
        workdir_lock.held(tmp_path).__enter__()


def test_run_in_a_bucket(bucket, monkeypatch):
    for name, seconds in {"HEARTBEAT": 0.1, "LEASE": 1.0, "POLL": 0.05, "SETTLING": 0.05}.items():
        monkeypatch.setattr(workdir_lock, name, seconds)
    with workdir_lock.held("gs://bucket/run"), pytest.raises(UserError, match="gs://bucket/run is in use by process"):
        workdir_lock.held("gs://bucket/run").__enter__()
    assert not bucket.names()
    bucket.put("run/run.lock", b'{"host": "elsewhere", "process": 7, "run": "0"}', {})
    with workdir_lock.held("gs://bucket/run"):
        assert str(os.getpid()).encode() in bucket.content("run/run.lock")
