"""What a command logs on stderr: our own lines with the time, and warnings of libraries."""

import logging as python_logging
import os
import pathlib
import warnings

from absl import flags, logging

ROOT = pathlib.Path(os.path.abspath(__file__)).parents[1]
OURS = tuple(f"{ROOT / package}{os.sep}" for package in ("facejax", "data_prep", "experiments", "synthetic_faces"))
# Warnings of libraries that users cannot act on.
UNIMPORTANT = (
    "Metadata file does not exist",  # orbax: one part of a checkpoint never has it
    "Waiting for previous save to complete",  # orbax: checkpoints are frequent in a small run
)


def worth_logging(record: python_logging.LogRecord) -> bool:
    """Filter for a handler: all lines of this repository's packages, and informative warnings of other modules.

    The logging module is identified by its file, since absl has one logger for all. Tracebacks of other modules are
    omitted: an error in a library's thread is raised in the main thread, and reported there.
    """
    if os.path.abspath(record.pathname).startswith(OURS):
        return True
    record.exc_info = None
    return record.levelno >= python_logging.WARNING and not record.getMessage().startswith(UNIMPORTANT)


def log_to_stderr() -> None:
    """Sends absl's log to stderr, filtered by `worth_logging`, from INFO on; called once, when a command starts."""
    # Google's clients, which orbax imports if installed, announce the end of support for Python versions.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    flags.FLAGS.mark_as_parsed()  # otherwise absl warns when it logs; a command may still parse them
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.addFilter(worth_logging)
    handler.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
