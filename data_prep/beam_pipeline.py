"""A conversion as an Apache Beam pipeline: the shards are the elements, and each worker writes those that it gets.

Only the numbers of the shards travel between workers. They read images and write shards on a file system that all of
them, and the machine that starts the pipeline, see under the same paths. The records are therefore the same byte for
byte as without Beam, and an interrupted conversion resumes. (TFDS's own Beam writer would send all images through a
shuffle to order them by hashes, and needs TensorFlow for TFRecord.)
"""

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from facejax.errors import UserError


def run(tasks: Sequence[Callable[[], Any]], options: str = "") -> None:
    """Calls all tasks in a pipeline and waits for its end.

    Args:
      tasks: picklable functions.
      options: of the pipeline, as on a command line: "--runner=FlinkRunner --flink_master=HOST:8081". "": Beam's local
        runner.

    Raises:
      UserError: a task raised one.
    """
    try:
        with beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
            _ = pipeline | beam.Create(list(tasks)) | beam.Reshuffle() | beam.Map(_call)
    except Exception as error:  # the worker's own class, or the runner's with the worker's traceback as its text
        text = str(error) if isinstance(error, UserError) else str(error).partition(f"{UserError.__name__}: ")[2]
        if not text:
            raise
        raise UserError(re.split(r" \[while running|\n", text)[0]) from error


def _call(task: Callable[[], Any]) -> None:
    task()
