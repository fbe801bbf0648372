"""Self-supervised face representation learning in JAX and Flax."""

import importlib
import sys
from typing import Any

from facejax import interruptions

if sys.argv[0] == "-m":  # Python's value while it looks for the module of `python -m facejax.NAME`
    interruptions.guard_command("facejax")

__version__ = "0.2.0.dev0"

_PUBLIC = {  # name: its module, imported on first use
    "Encoder": "facejax.encoder",
    "align": "facejax.data.align",
    "load": "facejax.encoder",
}
_MODULES = ("losses",)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"facejax.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, *_MODULES])
