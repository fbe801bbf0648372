"""The numbers that a run logged, out of its TensorBoard files."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from etils import epath
from google.protobuf.message import DecodeError
from tensorboardX.proto import event_pb2

from facejax.data import tfrecord


class Curve(NamedTuple):
    """A number over the steps of a run.

    Attributes:
      steps: int [N], ascending.
      values: float [N].
      times: float [N], seconds since 1970.
    """

    steps: np.ndarray
    values: np.ndarray
    times: np.ndarray


def read(folder: epath.Path) -> dict[str, Curve]:
    """All scalars in the event files of a folder, by tag; none where there is no file.

    A run logs the step from which it resumes; values that were logged beyond it before are dropped. A file may end in
    the middle of an event: the run is still writing it, or was killed.
    """
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for event in _events(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            for logged in points.values():
                for step in [step for step in logged if step > event.step]:
                    del logged[step]
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                points.setdefault(value.tag, {})[event.step] = value.simple_value, event.wall_time
    return {tag: _curve(logged) for tag, logged in points.items() if logged}


def _events(folder: epath.Path) -> Iterator[event_pb2.Event]:
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name):  # the name begins with a time
        for record in tfrecord.intact_records(file):
            try:
                yield event_pb2.Event.FromString(record)
            except DecodeError:
                break


def _curve(logged: dict[int, tuple[float, float]]) -> Curve:
    steps = sorted(logged)
    values, times = np.array([logged[step] for step in steps]).T
    return Curve(np.array(steps), values, times)
