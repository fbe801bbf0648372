"""Ctrl-C and SIGTERM in small processes of their own; in real runs: test_main.py."""

import os
import signal
import subprocess
import sys
import time

import pytest

from facejax.interruptions import stop_signals

PROGRAM = """
import hashlib, multiprocessing, os, sys, threading, time
from facejax.errors import report_user_errors
from facejax.interruptions import stop_signals

def ready(*words):
    print("ready", *words, flush=True)

def wait():
    ready()
    time.sleep(600)

def wait_outside_python():
    threading.Timer(0.3, ready).start()  # by then the main thread is there
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # takes minutes; like XLA it lets other threads go on

def wait_and_clean_up():
    try:
        wait()
    finally:
        print("cleaned up")

def be_interrupted_in_a_library():
    try:
        wait()
    except KeyboardInterrupt as error:
        raise RuntimeError("something failed") from error

def wait_for_a_thread():
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor() as pool:
        pool.submit(time.sleep, 600)
        wait()

def wait_for_a_worker():
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    worker.start()
    ready(worker.pid)
    worker.join()

def train():
    with stop_signals() as stopped:
        ready()
        while not stopped():
            time.sleep(0.01)
        print("saved", flush=True)
        if "again" in sys.argv:
            wait_outside_python()
    sys.exit(128 + stopped())

if __name__ == "__main__":
    with report_user_errors("program"):
        globals()[sys.argv[1]]()
"""
LINE = "program: interrupted; the same command resumes from what is finished\n"


@pytest.fixture
def start(tmp_path):
    """`start(*arguments)`: a process of PROGRAM that is ready, and what it says when it is."""
    (tmp_path / "program.py").write_text(PROGRAM)
    processes = []

    def start(*arguments):
        command = [sys.executable, tmp_path / "program.py", *arguments]
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        return process, process.stdout.readline().split()[1:]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("wait", ""),
        ("wait_outside_python", ""),
        ("wait_and_clean_up", "cleaned up\n"),
        ("be_interrupted_in_a_library", ""),
        ("wait_for_a_thread", ""),
    ],
)
def test_a_command_ends_in_one_line_wherever_it_is(start, what, number, said):
    process, _ = start(what)
    process.send_signal(number)
    assert process.communicate(timeout=60) == (said, LINE)
    assert process.returncode == 128 + number


def test_worker_processes_end_with_the_command(start):
    process, (worker,) = start("wait_for_a_worker")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    for _ in range(600):  # until it has been reaped
        try:
            os.kill(int(worker), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the worker goes on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_saves_first(start, number):
    process, _ = start("train")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert stdout == "saved\n" and "interrupted" not in stderr
    assert process.returncode == 128 + number


def test_second_signal_in_training_ends_at_once(start):
    process, _ = start("train", "again")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "saved\n"
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert stderr.endswith(LINE)
    assert process.returncode == 128 + signal.SIGINT


def test_signal_is_noted_and_the_old_handlers_come_back():
    """Where training is called from Python, in no command."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stop_signals() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped() == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.fixture
def python_handles_ctrl_c():
    """As in every program, but not where a test runs in a process that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_ctrl_c_is_the_callers(python_handles_ctrl_c):
    with pytest.raises(KeyboardInterrupt), stop_signals() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped() == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
