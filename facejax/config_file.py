"""`--config=FILE.py:ARG` on a command line: its file, and errors in one line."""

import itertools
import os
import re
import traceback

import ml_collections
from absl import flags

from facejax.errors import UserError


def named(argv) -> str | None:
    """The text after `--config`, or None; the flag's value is the config itself."""
    for argument, following in itertools.zip_longest(argv[1:], argv[2:]):
        flag, equals, value = argument.lstrip("-").partition("=")
        if flag == "config" and argument.startswith("-"):
            return value if equals else following
    return None


def parse(values: flags.FlagValues, argv) -> list[str]:
    """Parses flags, of which `config` is one; returns the arguments that are no flags, the program's name first.

    Raises:
      UserError: something is wrong with the command line or with the config file.
    """
    try:
        rest = values(argv)
        hasattr(values["config"].value, "keys")  # the placeholder for a missing file raises on first use
    except UserError:
        raise
    except Exception as error:  # a config file may raise anything
        raise UserError(failure(named(argv), error)) from error
    return rest


def as_dict(named: str, config) -> ml_collections.ConfigDict:
    """The config that the file returned.

    Raises:
      UserError: it is not a `ConfigDict`.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f"--config={named}: get_config returns {'nothing' if config is None else f'a {type(config).__name__}'}; "
            "it must return an ml_collections.ConfigDict"
        )
    return config


def failure(named: str | None, error: Exception) -> str:
    """One line for an error while the command line and the config file were read."""
    text = str(error.args[0]) if error.args else str(error)  # the text of a KeyError would be quoted twice
    if not named:
        return text
    file, where = named.split(":")[0], f"--config={named}"
    if "Failed loading config file" in text:
        return f"{where}: there is no file {file}; experiments/ has the existing ones"
    cause = error
    while "Error whilst parsing config file" in str(cause) and cause.__context__:
        cause = cause.__context__  # the error of the file, which ml_collections and absl wrapped
    if isinstance(cause, SyntaxError):
        return f"{where}: {cause.filename}, line {cause.lineno}: {cause.msg}"
    if str(cause).endswith("has no attribute 'get_config'"):
        return f"{where}: {file} has no function get_config(arg=None) that returns the config"
    lines = [line for path, line in _places(cause) if os.path.realpath(path) == os.path.realpath(file)]
    if lines and not isinstance(cause, ValueError):  # with which an experiment rejects its argument
        return f"{where}: {file}, line {lines[-1]}: {type(cause).__name__}: {cause}"
    if cause is not error or lines:
        return f"{where}: {cause}"
    if isinstance(error, AttributeError | KeyError):
        key, meant = re.search(r"\w+", text), re.search(r'Did you mean "(\S+)"', text)
        return f"the config has no key '{key[0]}'; " + (f"did you mean '{meant[1]}'?" if meant else f"see {file}")
    return text


def _places(error: Exception) -> list[tuple[str, int]]:
    """File and line of every frame of the error, the innermost last."""
    return [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
