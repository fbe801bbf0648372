"""What a command logs on stderr: our own lines with the time, of the libraries underneath warnings only."""

import logging as python_logging
import os
import pathlib
import warnings

from absl import flags, logging

ROOT = pathlib.Path(os.path.abspath(__file__)).parents[1]
OURS = tuple(f"{ROOT / package}{os.sep}" for package in ("facejax", "data_prep", "experiments", "synthetic_faces"))
# Warnings of libraries that no user can do anything about.
UNIMPORTANT = (
    "Metadata file does not exist",  # orbax: a part of a checkpoint never has one
    "Waiting for previous save to complete",  # orbax: checkpoints follow each other quickly in a small run
)


def worth_logging(record: python_logging.LogRecord) -> bool:
    """Filter for a handler: all lines of this repository's packages, of other modules warnings that tell something.

    Which module logs is known by where its file is: absl has one logger for all. Tracebacks of other modules are cut
    off, as what a library's thread could not do is raised in the main one, and reported there.
    """
    if os.path.abspath(record.pathname).startswith(OURS):
        return True
    record.exc_info = None
    return record.levelno >= python_logging.WARNING and not record.getMessage().startswith(UNIMPORTANT)


def log_to_stderr() -> None:
    """Sends absl's log to stderr as `worth_logging` says, from INFO on; called once, when a command starts."""
    # Google's clients, which orbax imports where they are installed, announce when they will drop a Python.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    flags.FLAGS.mark_as_parsed()  # absl logs without a warning only then; a command may still parse them
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.addFilter(worth_logging)
    handler.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
