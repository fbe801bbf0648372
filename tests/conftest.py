"""Shared by all tests: golden vectors, a bucket, shape checks, and a compilation cache for quick second runs."""

import logging
import os
import pathlib
import sys

import numpy as np
import pytest
import shape_checks
from fake_bucket import FakeBucket

from facejax import processors

SLOW = (
    "test_documented_commands.py",
    "test_train.py",
    "test_resume_elsewhere.py",
    "test_main.py",
    "test_resume.py",
    "test_lafs_supervised.py",
    "test_bucket.py",
    "test_pcl_sharding.py",
)
HERE = pathlib.Path(__file__).parent
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE.parent / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
sys.path.insert(0, str(HERE / "goldens"))  # golden.py: the inputs and parameters behind the vectors
shape_checks.install()


def pytest_addoption(parser):
    parser.addoption("--goldens", default=str(HERE / "goldens"), help="folder with the golden vectors")


def pytest_xdist_auto_num_workers():
    """One more process than cores, because tests that start programs wait for them."""
    return processors.count() + 1


def pytest_collection_modifyitems(items):
    """Runs slow files first, so no process waits long for another at the end."""
    items.sort(key=lambda item: item.path.name not in SLOW)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Adds to a failure how to repeat its random inputs."""
    report = yield
    if report.failed:
        file, seed = item.nodeid.partition("::")[0], item.config.getoption("randomly_seed")
        report.sections.append(("Random inputs", f"again with: pytest {file} --randomly-seed={seed}"))
    return report


@pytest.fixture(autouse=True)
def log_level():
    """Resets the log level, which commands set for the whole process."""
    logging.getLogger("absl").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def goldens(request):
    """`goldens("fra_small")` -> dict of arrays; its seed is `int(vectors["seed"])`."""
    folder = pathlib.Path(request.config.getoption("--goldens"))

    def load(name):
        with np.load(folder / f"{name}.npz") as file:
            return {key: file[key] for key in file.files}

    return load


@pytest.fixture(scope="session")
def served_bucket():
    """One for all tests, because the clients of file systems are cached with its address."""
    bucket = FakeBucket()
    with bucket.served() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield bucket


@pytest.fixture
def bucket(served_bucket):
    """`gs://bucket`, empty."""
    served_bucket.clear()
    return served_bucket


@pytest.fixture(scope="module")
def quick_compilation():
    """Compiles a module's tests without LLVM's optimisation, which takes longer than tiny tests then run.

    For modules that do not compare numbers closely: sums are then accumulated in another order, and less exactly.
    """
    import jax  # after the cache is set

    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def unchecked_shapes():
    """Switches the checks of annotated shapes off, for tests of the errors that the library itself raises."""
    with shape_checks.unchecked():
        yield
