"""What the configs of evaluations share."""

import ml_collections


def config(**tasks) -> ml_collections.ConfigDict:
    """A config that asks these tasks."""
    return ml_collections.ConfigDict({"draws": 1000, "seed": 0, "skip_corrupt": False, "tasks": tasks})


def refuse(arg, file: str) -> None:
    """Raises ValueError for an argument, where none is known."""
    if arg is not None:
        raise ValueError(f"{file} takes no argument, not {arg!r}")
