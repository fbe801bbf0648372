"""The metrics of one step of a run, which `workdir/evaluations` keeps."""

import json

from absl import logging
from etils import epath


def path(workdir: epath.PathLike, step: int) -> epath.Path:
    """Where they are."""
    return epath.Path(workdir) / "evaluations" / f"step_{step:08d}.json"


def read(file: epath.Path) -> dict[str, float] | None:
    """What an evaluation has written; None, with a warning if it is damaged, where there is nothing to read."""
    if not file.exists():
        return None
    try:
        metrics = json.loads(file.read_text())
    except (ValueError, RecursionError):
        metrics = None
    if isinstance(metrics, dict) and all(isinstance(value, float) for value in metrics.values()):
        return metrics
    logging.warning("%s is damaged or not of an evaluation: the step is evaluated again", file)
    return None
