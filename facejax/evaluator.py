"""What the encoder is worth at a step of a run: metrics, and pictures of what it sees."""

import functools
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
from absl import logging
from etils import epath

from facejax import sharding
from facejax.data import pipeline, records
from facejax.data.records import RecordSource
from facejax.data.tfrecord import CorruptRecord
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.evaluation import disentanglement, metrics_file, suite
from facejax.files import write_json
from facejax.methods import Method
from facejax.pictures import legible, sheet
from facejax.preprocessing import Preprocessing
from facejax.processes import rows_of_all
from facejax.progress import phase
from facejax.reporting import Reporter
from facejax.train_state import TrainState

DRAWN = 8  # faces in a picture


class Evaluator:
    """Evaluates a step once, and finds it in `workdir/evaluations` from then on.

    Args:
      method: what is evaluated; of its config `method`, `batch_size` and `data.skip_corrupt` are read.
      mesh: the devices.
      evaluations: by name.
      splits: (folder, split) -> the records of every split that the evaluations name.
      drawn: the records that faces for the pictures are taken from.
      reporter: gets metrics and pictures.
      workdir: folder of the run.
    """

    def __init__(
        self,
        method: Method,
        mesh: jax.sharding.Mesh,
        evaluations: Mapping[str, suite.Evaluation],
        splits: Mapping[tuple[str, str], RecordSource],
        drawn: RecordSource,
        reporter: Reporter,
        workdir,
    ):
        config = self._config = method.config
        self._method, self._evaluations, self._splits = method, evaluations, splits
        self._reporter, self._workdir = reporter, epath.Path(workdir)
        self._whole, self._split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        self._compiled = False
        self._faces = faces_to_draw(drawn, method.preprocessing, skip_corrupt=config.data.skip_corrupt)

    def cached(self, step: int) -> dict[str, float] | None:
        """The metrics of a step that was evaluated before, or None."""
        return metrics_file.read(metrics_file.path(self._workdir, step))

    def evaluate(self, step: int, state: TrainState) -> dict[str, float]:
        """Metrics of the encoder in `state`, that of `step`; cached ones if there are any."""
        if (kept := self.cached(step)) is not None:
            return kept
        began = time.perf_counter()
        logging.info("Evaluating the encoder of step %d", step)
        encoder = Encoder.of_method(self._method, state)
        encode = self._compile(encoder)
        metrics = suite.evaluate(
            encode,
            self._evaluations,
            self._batches,
            draw=functools.partial(self._reporter.picture, step),
            locate=encoder.preprocessing.locate,
        )
        metrics |= disentanglement.advantages(metrics)
        self._reporter.scalars(step, metrics)
        with phase("Drawing pictures"):
            self._draw(step, encoder)
        if jax.process_index() == 0:
            write_json(metrics_file.path(self._workdir, step), metrics)
        logging.info("Evaluated step %d in %.0f s", step, time.perf_counter() - began)
        return metrics

    def _compile(self, encoder: Encoder) -> Callable[[np.ndarray], dict[str, jax.Array]]:
        """The encoder on batches; compiled now, so that the progress of the first evaluation begins with its first."""
        encode = encoder.compiled("encode", self._whole)

        def run(batch):
            return encode(encoder.variables, jax.make_array_from_process_local_data(self._split, batch))

        if not self._compiled:
            with phase("Compiling the encoder"):
                rows = self._config.batch_size // jax.process_count()
                jax.block_until_ready(run(np.zeros((rows, *self._faces.shape[1:]), np.uint8)))
            self._compiled = True
        return run

    def _batches(self, folder, split, fields):
        """Each process decodes its part of the images, and gets the labels of all."""
        reading = pipeline.Reading(
            batch_size=self._config.batch_size // jax.process_count(),
            image_size=self._method.preprocessing.size,
            fields=("image", *fields),
            skip_corrupt=self._config.data.skip_corrupt,
            shard_index=jax.process_index(),
            shard_count=jax.process_count(),
        )
        for batch in pipeline.evaluation_batches(self._splits[folder, split], reading, self._method.preprocessing):
            yield {key: rows if key == "image" else rows_of_all(rows) for key, rows in batch.items()}

    def _draw(self, step, encoder):
        overlays, name = {"the faces": self._faces}, self._config.method
        legend = {}
        pictures = encoder.compiled("pictures", self._whole)
        for kind, drawings in pictures(encoder.variables, _on_mesh(self._faces, self._whole)).items():
            drawings, caption = np.asarray(drawings), encoder.captions[kind]
            if caption.columns:  # a strip of squares for each face: one below the other
                squares = [np.stack(np.split(strip, len(caption.columns), axis=1)) for strip in drawings]
                picture = sheet(legible(squares), columns=caption.columns, legend=caption.legend)
                self._reporter.picture(step, f"{name}_{kind}", picture)
            else:
                overlays[caption.label] = drawings
                legend |= dict(caption.legend)
        if len(overlays) > 1:
            rows = legible(list(overlays.values()))
            picture = sheet(rows, labels=list(overlays), legend=list(legend.items()))
            self._reporter.picture(step, name, picture)


def faces_to_draw(source: RecordSource, preprocessing: Preprocessing, *, skip_corrupt: bool = False) -> np.ndarray:
    """A few images from all over the records, always the same, as the encoder gets them: uint8 [N, S, S, 3].

    Args:
      source: the records.
      preprocessing: the encoder's.
      skip_corrupt: take the next record in the place of one that cannot be read.

    Raises:
      CorruptRecord: a record cannot be read (unless `skip_corrupt`).
      UserError: no record can be read.
    """
    faces = []
    for start in np.linspace(0, len(source) - 1, DRAWN).round().astype(int):
        for probe in range(len(source)):
            try:
                _, image = records.read_with_image(source, int(start + probe) % len(source))
            except CorruptRecord:
                if not skip_corrupt:
                    raise
            else:
                faces.append(preprocessing.fit_to_square(image))
                break
    if not faces:
        raise UserError(f"{source}: no record can be read; copy or convert the data again")
    return np.stack(faces)


def _on_mesh(batch, placement):
    return jax.make_array_from_callback(batch.shape, placement, lambda part: batch[part])
