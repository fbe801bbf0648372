"""The metrics of one step of a run, stored in `workdir/evaluations`."""

import json
from typing import Any

from absl import logging
from etils import epath


def path(workdir: epath.PathLike, step: int) -> epath.Path:
    """Path of the metrics of a step."""
    return epath.Path(workdir) / "evaluations" / f"step_{step:08d}.json"


def read(file: epath.Path) -> dict[str, float] | None:
    """The metrics that an evaluation has written, or None where there are none; a damaged file is logged."""
    if not file.exists():
        return None
    try:
        metrics = json.loads(file.read_text())
    except (ValueError, RecursionError):
        metrics = None
    if are_metrics(metrics):
        return metrics
    logging.warning("%s is damaged or not of an evaluation: the step is evaluated again", file)
    return None


def are_metrics(content: Any) -> bool:
    """Whether what JSON held is the metrics of an encoder."""
    return isinstance(content, dict) and all(isinstance(value, float) for value in content.values())
