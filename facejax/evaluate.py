"""Evaluates frozen encoders, and compares them with features that are not learned.

Example, which renders synthetic faces and evaluates the encoder of a run on them:

    python -m facejax.evaluate workdirs/demo --config=experiments/evaluate/synthetic.py --out=judged

Name any number of workdirs and folders of encoders: they share one table. --config names the tasks; --config.KEY=VALUE,
such as --config.draws=100, changes a value. The table is printed; --out receives it as results.txt and results.json,
with a picture of each task.
"""

import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

from facejax import config_file
from facejax.errors import UserError, report_user_errors
from facejax.log_output import log_to_stderr
from facejax.progress import phase

USAGE = "python -m facejax.evaluate ENCODER... --config=experiments/evaluate/NAME.py [--out=DIR]"


def define_flags() -> flags.FlagValues:
    """The flags of the command."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "the tasks: FILE.py", lock_config=True, flag_values=values)
    flags.DEFINE_string("out", None, "folder for table, numbers and pictures; a local path or gs://", values)
    flags.DEFINE_string("cache", None, "folder in which features are cached; defaults to your cache folder", values)
    flags.DEFINE_bool("compilation_cache", True, "load what earlier runs compiled", values)
    return values


def parse(argv, values: flags.FlagValues) -> list[str]:
    """Parses the command line; returns the encoders.

    Raises:
      UserError: something is wrong with it.
      SystemExit: with status 0, after the help.
    """
    if {"--help", "-help", "--helpshort", "-h"} & set(argv[1:]):
        print(f"{__doc__}\nFlags:\n{values.get_help()}")
        sys.exit(0)
    named = config_file.named(argv)
    _, *encoders = config_file.parse(values, argv)
    if not named:
        raise UserError(f"--config is missing: {USAGE}")
    config_file.as_dict(named, values["config"].value)
    if not encoders:
        raise UserError(f"name an encoder: {USAGE}")
    return encoders


def main() -> None:
    """Entry point; exit status 2 for a user's error."""
    log_to_stderr()
    values = define_flags()

    def run(argv) -> None:
        with phase("Importing JAX"):
            from facejax import compilation_cache, judgement

        compilation_cache.enable(values.compilation_cache)
        cache = None if values.cache is None else pathlib.Path(values.cache)
        print(judgement.judge(argv, values.config, out=values.out, cache=cache), flush=True)

    with report_user_errors("facejax"):
        app.run(run, flags_parser=lambda argv: parse(argv, values))


if __name__ == "__main__":
    main()
