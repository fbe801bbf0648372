"""Checks a config against its schema, before a run does anything else."""

import difflib
from collections.abc import Mapping
from typing import Any, get_origin

from ml_collections.config_dict import RequiredValueError
from pydantic import ValidationError

from facejax.config_schema.experiment import Experiment
from facejax.config_schema.fields import Section, expected, group, section
from facejax.errors import UserError
from facejax.methods import METHODS


def check(config) -> Experiment:
    """Checks a config before anything is computed: each key alone, then combinations of keys.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.

    Returns:
      The values, as an instance of the method's schema.

    Raises:
      UserError: see `check_keys`; also values that contradict each other, and missing starting weights.
    """
    experiment = check_keys(config)
    experiment.check_together()
    return experiment


def check_keys(config) -> Experiment:
    """Checks every key of a config alone.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.

    Returns:
      The values, as an instance of the method's schema.

    Raises:
      UserError: a key that does not exist or is missing, a value of a wrong type or out of range. It names the key, the
        value and what it must be.
    """
    try:
        values = _with_tuples(config.to_dict())
    except RequiredValueError as error:
        raise UserError(f"a key of the config has no value: {error}") from error
    if "method" not in values:
        raise UserError(f"config.method is missing: one of {', '.join(METHODS)}")
    method = values["method"]
    if not isinstance(method, str) or method not in METHODS:
        raise UserError(f"config.method = {method!r}: unknown method; there are: {', '.join(METHODS)}")
    schema = METHODS[method].schema
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first, *others = dict.fromkeys(_one_line(schema, values, found) for found in error.errors())
        more = f" (and {len(others)} more, the next: {others[0].partition(':')[0]})" if others else ""
        raise UserError(first + more) from None


def _with_tuples(value: Any) -> Any:
    """The value with lists replaced by tuples at every depth: JSON and the command line may give either."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _one_line(schema: type[Section], values: dict, found: dict) -> str:
    """An error that pydantic found, phrased with the schema's descriptions."""
    path = found["loc"]
    if found["type"] == "extra_forbidden":
        return _unknown(schema, path)
    depth, about = _locate(schema, path)
    where = ".".join(("config", *path[:depth]))
    if found["type"] == "missing" and depth == len(path):
        return f"{where} is missing: {about}"
    for part in path[:depth]:
        values = values[part]
    if found["type"] == "value_error":
        return f"{where} = {values!r}: {found['ctx']['error']}; it must be {about}"
    return f"{where} = {values!r}: must be {about}"


def _locate(kind: type[Section], path: tuple) -> tuple[int, str]:
    """How many leading parts of a path name the key (the others are within its value), and its description."""
    field = kind.model_fields[path[0]]
    inner, depth = section(field), 1
    if inner and get_origin(field.annotation) is dict:
        depth = 2
        if len(path) == depth:
            return depth, group(inner)
    if inner and len(path) > depth:
        deeper, about = _locate(inner, path[depth:])
        return depth + deeper, about
    return 1, f"{expected(field)} ({field.description})"


def _unknown(kind: type[Section], path: tuple) -> str:
    *outer, name = path
    while outer:
        field = kind.model_fields[outer[0]]
        kind, outer = section(field), outer[2 if get_origin(field.annotation) is dict else 1 :]
    close = difflib.get_close_matches(name, kind.model_fields, n=1)
    known = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(kind.model_fields)}"
    return f"{'.'.join(('config', *path))}: no such key; {known}"
