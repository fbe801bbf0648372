"""The config schema as text, which `--helpconfig` prints and docs/config.md contains."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from facejax.config_schema.check import check_keys
from facejax.config_schema.experiment import Experiment
from facejax.config_schema.fields import Section, expected, section
from facejax.methods import METHODS

WIDTH = 120
ANY_NAME = "NAME"  # stands for a key that the user chooses
TITLE = """\
# Configs

All keys of the experiments: what the value must be, and what it means. Set one on the command line with
`--config.KEY=VALUE`. An unknown key, a missing key and a value out of range are errors, reported before anything is
computed. `python -m facejax.main --config=experiments/NAME.py --helpconfig` prints the keys of one
experiment with their values; without `--config` it prints this page.
"""


def describe_all() -> str:
    """Markdown: the keys of every method, with the common ones first."""
    common = dict(_keys(Experiment))
    parts = [TITLE, "## Every method\n", *common.values()]
    for name, method in METHODS.items():
        schema = method.schema
        parts += [f"\n## `{name}`\n", f"{schema.__doc__}\n"]
        parts += [line for key, line in _keys(schema) if common.get(key) != line and key != "method"]
    return "\n".join(parts) + "\n"


def describe(config) -> str:
    """Markdown: the keys of a config with their values.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.

    Raises:
      UserError: one of its keys is wrong.
    """
    check_keys(config)
    schema = METHODS[config.method].schema
    return "\n".join([f"# {schema.__doc__}\n", *(line for _, line in _keys(schema, config.to_dict()))]) + "\n"


def _keys(kind: type[Section], values: Mapping[str, Any] | None = None, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, line) of every key of a section and of those within it, in their order."""
    for name, field in kind.model_fields.items():
        inner, key = section(field), prefix + name
        given = values is not None and name in values
        if inner is None:
            default = "" if field.is_required() else f", defaults to {field.default!r}"
            value = f" = {values[name]!r}" if given else ""
            yield key, _line(f"`{key}`{value} ({expected(field)}{default}): {field.description}")
            continue
        yield key, _line(f"`{key}`: {field.description}")
        if get_origin(field.annotation) is not dict:
            if values is None or given:
                yield from _keys(inner, values[name] if given else None, f"{key}.")
            continue
        for chosen in values[name] if given else (ANY_NAME,):
            yield from _keys(inner, values[name][chosen] if given else None, f"{key}.{chosen}.")


def _line(text: str) -> str:
    return textwrap.fill(f"- {text}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
