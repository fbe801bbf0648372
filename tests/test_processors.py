import os

from facejax import processors


def test_those_of_the_process_or_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert processors.count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert processors.count() == os.cpu_count()
