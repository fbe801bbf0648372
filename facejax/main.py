"""Command line: flags and a config in, a training run out.

python -m facejax.main --config=experiments/NAME.py[:ARG] --workdir=DIR [--config.key=value ...]
"""

import logging as python_logging
import os
import re

from absl import app, flags, logging
from ml_collections import config_flags

from facejax.errors import UserError, told_in_one_line

config_flags.DEFINE_config_file("config", None, "experiment: FILE.py or FILE.py:ARG", lock_config=True)
flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, logs, pictures, results; a local path or gs://")
flags.DEFINE_string("coordinator_address", None, "host:port of process 0, where no cluster manager tells it")
flags.DEFINE_integer("num_processes", None, "how many processes train together, with --coordinator_address")
flags.DEFINE_integer("process_id", None, "which of them this one is, with --coordinator_address")
FLAGS = flags.FLAGS


def parse_flags(argv):
    """Parses the command line; what is wrong with it is a UserError of one line."""
    try:
        rest = FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}: flags look like --config=FILE --workdir=DIR")
        for name in ("config", "workdir"):
            if not FLAGS[name].value and FLAGS[name].value is None:
                raise UserError(
                    f"--{name} is missing: python -m facejax.main --config=experiments/NAME.py --workdir=DIR"
                )
        FLAGS.config.keys()  # a config file that could not be read says so on first use
    except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_parse_failure(argv, error)) from error
    return rest


def _parse_failure(argv, error) -> str:
    config = next((arg.partition("=")[2] for arg in argv if arg.startswith("--config=")), None)
    file = (config or "").split(":")[0]
    text = str(error.args[0]) if error.args else str(error)  # a KeyError's own text would be quoted once more
    if config is not None and "Failed loading config file" in text:
        return f"--config={config}: there is no file {file}; the experiments that exist are in experiments/"
    if isinstance(error, (AttributeError, KeyError)) and config is not None:
        key, meant = re.search(r"\w+", text), re.search(r'Did you mean "(\S+)"', text)
        return f"the config has no key '{key[0]}'; " + (f"did you mean '{meant[1]}'?" if meant else f"see {file}")
    return text.splitlines()[-1] if "Error whilst parsing config file" in text else text


def run(_) -> None:
    """Trains as `--config` says, in `--workdir`."""
    from facejax import sharding, train  # JAX starts only now: a mistyped flag is told without waiting for it
    from facejax.data.tfrecord import CorruptRecord

    sharding.join_cluster(FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id)
    try:
        train.train(FLAGS.config, FLAGS.workdir)
    except CorruptRecord as error:
        raise UserError(f"{error}; --config.data.skip_corrupt=True leaves damaged records out") from error


def log_to_stderr() -> None:
    """What facejax tells, with the time; of the libraries underneath, warnings only."""

    def worth_telling(record):
        ours = f"{os.sep}facejax{os.sep}" in record.pathname
        if not ours:
            record.exc_info = None  # what a library's thread could not do is raised in the main one, and told there
            if "Metadata file does not exist" in record.getMessage():  # a part of a checkpoint never has one
                return False
        return ours or record.levelno >= python_logging.WARNING

    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.addFilter(worth_telling)
    handler.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))


def main() -> None:
    """Entry point; exit status 2 for an error of the user's."""
    log_to_stderr()
    with told_in_one_line("facejax"):
        app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    main()
