"""Self-supervised face representation learning in JAX and Flax."""

import importlib
import sys
from typing import Any

from facejax import interruptions

if sys.argv[0] == "-m":  # Python puts it there while it looks for the module of `python -m facejax.main` and the like
    interruptions.guard_command("facejax")

__version__ = "0.2.0.dev0"

_PUBLIC = {"align": "facejax.data.align"}  # name: the module that has it, imported when it is asked for


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
