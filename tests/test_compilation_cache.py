"""The cache of compiled programs: on by default, in the user's folder, and never left with broken entries."""

import os
import pathlib
import subprocess
import sys

import pytest

from facejax import compilation_cache

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = """
import sys, jax, jax.numpy as jnp
from facejax import compilation_cache
compilation_cache.enable(sys.argv[1] == "on")
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("cache_hits")))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))
print(any(hits))
"""


def run(cache_home, switch="on", **environment) -> str:
    """Whether a program that compiles something found it in the cache; Python must warn of nothing."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"},
        "PYTHONPATH": str(ROOT),
        "HOME": str(cache_home),  # where macOS has its caches
        "XDG_CACHE_HOME": str(cache_home),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **environment,
    }
    command = [sys.executable, "-c", PROGRAM, switch]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout.strip()


def entries(folder) -> list[pathlib.Path]:
    return sorted(folder.rglob("*-cache"))


def test_default_folder_environment_and_switch(tmp_path):
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    assert run(mine) == "False"
    assert entries(mine) and "facejax" in str(entries(mine)[0])
    for path in entries(mine):  # as a process that is killed while it writes leaves them
        path.write_bytes(path.read_bytes()[:-20])
    assert run(mine) == "False"  # compiled and written anew
    assert run(mine) == "True"
    assert run(mine, "off") == "False"
    before = entries(mine)
    assert run(mine, JAX_COMPILATION_CACHE_DIR=str(elsewhere)) == "False"
    assert entries(elsewhere) and entries(mine) == before


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "facejax").write_text("")  # a file in the way
    (tmp_path / "Library").write_text("")
    assert run(tmp_path) == "False"


@pytest.fixture
def folder(tmp_path):
    """Four entries of the same size, the first the oldest, the third cut off."""
    whole = compilation_cache.compilation_cache.compress_executable(os.urandom(1000))
    for i in range(4):
        path = tmp_path / f"{i}-cache"
        path.write_bytes(whole[:-5] if i == 2 else whole)
        os.utime(path, (i + 1, i + 1))
    return tmp_path, len(whole)


def test_broken_entries_go_and_are_looked_for_once(folder):
    path, _ = folder
    compilation_cache.clean(path)
    assert [entry.name for entry in entries(path)] == ["0-cache", "1-cache", "3-cache"]
    old = path / "old-cache"
    old.write_bytes(b"")
    os.utime(old, (1, 1))
    (path / "empty-cache").write_bytes(b"")
    compilation_cache.clean(path)
    assert old.exists() and not (path / "empty-cache").exists()


def test_the_oldest_entries_go_where_there_are_too_many(folder):
    path, size = folder
    compilation_cache.clean(path, limit=2 * size)
    assert [entry.name for entry in entries(path)] == ["1-cache", "3-cache"]
