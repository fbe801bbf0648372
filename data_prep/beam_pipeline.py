"""A conversion as an Apache Beam pipeline: the shards are the elements, and each is written by whoever gets it.

Nothing travels between the workers but the numbers of the shards: they read the images, and write the shards, on a file
system that all of them and the machine that starts the pipeline see under the same paths. So the records are the same
byte for byte as without Beam, and an interrupted conversion goes on. (TFDS's own Beam writer would send all images
through a shuffle, to order them by hashes, and needs TensorFlow for TFRecord.)
"""

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
    except Exception as error:
        message = str(error)
        if UserError.__name__ not in message:
            raise
        first = message.split(f"{UserError.__name__}:", 1)[-1].split(" [while running")[0].split("\n")[0]
        raise UserError(first.strip()) from error


def _call(task: Callable[[], Any]) -> None:
    task()
