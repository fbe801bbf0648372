"""A phase is logged while it lasts, not only around it."""

import io
import time

import pytest
from absl import logging

from facejax import progress


@pytest.fixture
def lines(monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "info", lambda text, *values: logged.append(text % values if values else text))
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    return logged


def test_a_short_phase_is_one_line(lines):
    with progress.phase("Drawing"):
        pass
    assert lines == ["Drawing ..."]


def test_a_long_phase_says_that_it_still_runs_until_it_is_over(lines):
    with progress.phase("Compiling"):
        while len(lines) < 3:
            time.sleep(0.01)
    assert lines[:3] == ["Compiling ...", *["Compiling: still running after 0 s"] * 2]
    assert lines[-1] == "Compiling: done in 0 s"
    ended = len(lines)
    time.sleep(0.2)
    assert len(lines) == ended


def test_on_a_terminal_one_line_is_written_anew_and_erased(lines, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.phase("Compiling"):
        while terminal.getvalue().count("still") < 2:
            time.sleep(0.01)
    assert lines == ["Compiling ...", "Compiling: done in 0 s"]
    first, *middle, last = terminal.getvalue().split(progress.ERASE)
    assert not first and not last and set(middle) == {"Compiling: still running after 0 s"}


def test_a_phase_that_fails_falls_silent(lines):
    with pytest.raises(ValueError, match="why"), progress.phase("Reading"):
        time.sleep(0.1)
        raise ValueError("why")
    assert "Reading: done" not in lines[-1]
    ended = len(lines)
    time.sleep(0.2)
    assert len(lines) == ended
