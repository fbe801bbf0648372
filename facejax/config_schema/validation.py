"""Values against a schema; what is wrong with them in one line."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_origin

from ml_collections.config_dict import RequiredValueError
from pydantic import ValidationError

from facejax.config_schema.fields import Section, expected, group, section
from facejax.errors import UserError

Keys = TypeVar("Keys", bound=Section)


def plain_values(config) -> dict[str, Any]:
    """The values of an `ml_collections.ConfigDict`, with tuples in the place of lists.

    Raises:
      UserError: it leaves a key open.
    """
    try:
        return _with_tuples(config.to_dict())
    except RequiredValueError as error:
        raise UserError(f"a key of the config has no value: {error}") from error


def validated(schema: type[Keys], values: Mapping[str, Any], where: str = "config") -> Keys:
    """Values as a schema holds them.

    Args:
      schema: of a group of keys.
      values: of the keys.
      where: the group's own key.

    Raises:
      UserError: as for `check_keys`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first, *others = dict.fromkeys(_one_line(schema, values, found, where) for found in error.errors())
        more = f" (and {len(others)} more, the next: {others[0].partition(':')[0]})" if others else ""
        raise UserError(first + more) from None


def _with_tuples(value: Any) -> Any:
    """The value with lists replaced by tuples at every depth: JSON and the command line may give either."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _one_line(schema: type[Section], values: Mapping, found: dict, prefix: str) -> str:
    """An error that pydantic found, phrased with the schema's descriptions."""
    path = found["loc"]
    if found["type"] == "extra_forbidden":
        return _unknown(schema, path, prefix)
    if not path:  # of values that do not go together
        return f"{prefix}: {found['ctx']['error']}"
    depth, about = _locate(schema, path)
    where = ".".join((prefix, *path[:depth]))
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


def _unknown(kind: type[Section], path: tuple, prefix: str) -> str:
    *outer, name = path
    while outer:
        field = kind.model_fields[outer[0]]
        kind, outer = section(field), outer[2 if get_origin(field.annotation) is dict else 1 :]
    close = difflib.get_close_matches(name, kind.model_fields, n=1)
    known = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(kind.model_fields)}"
    return f"{'.'.join((prefix, *path))}: no such key; {known}"
