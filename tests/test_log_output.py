"""Which lines of the log reach a user, wherever the repository was cloned to."""

import logging

import pytest

from facejax import log_output


def record(path, level, message, *args):
    return logging.LogRecord("absl", level, str(path), 1, message, args, (ValueError, ValueError("a"), None))


@pytest.mark.parametrize("package", ["facejax", "data_prep", "experiments", "synthetic_faces"])
def test_our_own_lines_pass(package):
    assert log_output.worth_logging(record(log_output.ROOT / package / "some" / "module.py", logging.INFO, "step 1"))


@pytest.mark.parametrize(
    "path",
    ["/home/me/facejax/.venv/lib/orbax/module.py", log_output.ROOT / ".venv" / "facejax" / "orbax.py"],
)
def test_libraries_pass_with_warnings_only_even_within_a_clone(path):
    assert not log_output.worth_logging(record(path, logging.INFO, "saved %d arrays", 3))
    warning = record(path, logging.WARNING, "disk is %s", "slow")
    assert log_output.worth_logging(warning)
    assert warning.exc_info is None
    waited = "Waiting for previous save to complete took %f seconds."
    assert not log_output.worth_logging(record(path, logging.WARNING, waited, 1.5))
