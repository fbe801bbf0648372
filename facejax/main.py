"""Trains a face encoder without labels and measures what it has learned.

Example, which renders synthetic faces, trains on them and evaluates, in minutes on a laptop:

    python -m facejax.main --config=experiments/fra_r50.py:demo --workdir=workdirs/demo

--config names an experiment, here with the argument "demo"; --config.KEY=VALUE, such as --config.epochs=20, changes one
of its values. The same command resumes an interrupted run.
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from facejax import config_file
from facejax.errors import UserError, report_user_errors
from facejax.log_output import log_to_stderr
from facejax.progress import phase

config_flags.DEFINE_config_file("config", None, "experiment: FILE.py or FILE.py:ARG", lock_config=True)
flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, logs, pictures, results; a local path or gs://")
flags.DEFINE_string("coordinator_address", None, "host:port of process 0, if no cluster manager provides it")
flags.DEFINE_integer("num_processes", None, "number of processes that train together, with --coordinator_address")
flags.DEFINE_integer("process_id", None, "number of this process, from 0, with --coordinator_address")
flags.DEFINE_integer("coordinator_timeout", 300, "seconds to wait for the other processes")
flags.DEFINE_bool("helpconfig", False, "list the keys of a config with type, range and meaning, then exit")
flags.DEFINE_bool(
    "compilation_cache",
    True,
    "reuse compiled programs, from JAX_COMPILATION_CACHE_DIR or your cache folder",
)
flags.DEFINE_bool("report", True, "write WORKDIR/report.html at the end, as python -m facejax.report does")
flags.DEFINE_bool("log_all_metrics", False, "log all metrics of a step, not only to TensorBoard")
FLAGS = flags.FLAGS


def parse_flags(argv):
    """Parses the command line; errors are UserErrors of one line.

    Raises:
      SystemExit: with status 0, after the help.
    """
    if {"--help", "-help", "--helpshort", "-h"} & set(argv[1:]):  # absl's own exits with 1
        print(f"{__doc__}\nFlags:\n{FLAGS.main_module_help()}")
        sys.exit(0)
    named = config_file.named(argv)
    if named == "":
        raise UserError(_left_out("config", named))
    rest, config = config_file.parse(FLAGS, argv), FLAGS["config"].value
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}: flags look like --config=FILE --workdir=DIR")
    if FLAGS.helpconfig:
        from facejax.config_schema.description import describe, describe_all  # imports all methods, and JAX

        print(describe_all() if named is None else describe(config_file.as_dict(named, config)), end="")
        sys.exit(0)
    for name, value in (("config", named), ("workdir", FLAGS.workdir)):
        if not value:
            raise UserError(_left_out(name, value))
    config_file.as_dict(named, config)
    return rest


def _left_out(name: str, value: str | None) -> str:
    state = "missing" if value is None else "empty"
    return f"--{name} is {state}: python -m facejax.main --config=experiments/NAME.py --workdir=DIR"


def run(_) -> None:
    """Trains as `--config` says, in `--workdir`."""
    if FLAGS.log_all_metrics:
        logging.set_verbosity(logging.DEBUG)
    with phase("Importing JAX"):  # late, so a mistyped flag is reported without waiting for it
        from facejax import cluster, compilation_cache, report, train
        from facejax.data.tfrecord import CorruptRecord

    compilation_cache.enable(FLAGS.compilation_cache)
    cluster.join(FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id, timeout=FLAGS.coordinator_timeout)
    try:
        train.train(FLAGS.config, FLAGS.workdir)
    except CorruptRecord as error:
        raise UserError(f"{error}; --config.data.skip_corrupt=True skips damaged records") from error
    if FLAGS.report:
        report.write_after_run(FLAGS.workdir)


def main() -> None:
    """Entry point; exit status 2 for an error of the user's."""
    log_to_stderr()
    with report_user_errors("facejax"):
        app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    main()
