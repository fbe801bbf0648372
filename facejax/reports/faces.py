"""The faces that encoders are looked at with, and what the records know about each."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from facejax import embedding, paths
from facejax.data import images, records
from facejax.data.tfrecord import CorruptRecord
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.progress import phase

COUNT = 500
THUMBNAIL = 64  # pixels across
QUALITY = 80
MOST_ENTRIES = 40  # of a label that is a vector: CelebA has 40 attributes


class Label(NamedTuple):
    """What the records say of each face, under one name.

    Attributes:
      values: int [N], indices into `categories`; or float [N] where these are none.
      categories: texts.
    """

    values: np.ndarray
    categories: Sequence[str] = ()

    def texts(self) -> list[str]:
        """The value of each face, to be read."""
        return [self.categories[value] if self.categories else f"{value:.4g}" for value in self.values]


@dataclasses.dataclass(frozen=True)
class Faces:
    """A few hundred faces of a data set.

    Attributes:
      source: the records.
      indices: of the faces among them.
      thumbnails: JPEG, squares.
      labels: by name.
    """

    source: records.RecordSource
    indices: Sequence[int]
    thumbnails: Sequence[bytes]
    labels: Mapping[str, Label]

    def embed(self, encoder: Encoder) -> dict[str, np.ndarray]:
        """Features of the faces, float32 [N, D] of each kind."""

        def squares(index):
            _, image = records.read_with_image(self.source, index, at_least=2 * encoder.preprocessing.size)
            return encoder.fit(image)

        with phase(f"Embedding {len(self.indices)} faces"):
            parts = list(embedding.parts(encoder, self.indices, faces=squares))
        return {kind: np.concatenate([part.features[kind] for part in parts]) for kind in encoder.kinds}


def place_of(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Folder and split of the faces that a run is judged by, or trained on where it is not; None: its config has none.

    Args:
      config: what config.json holds.
    """
    judged = [(entry.get("data"), entry.get("test_split", "test")) for entry in _evaluations(config)]
    data = config.get("data")
    trained_on = [(data.get("folder"), data.get("split"))] if isinstance(data, dict) else []
    return next((place for place in judged + trained_on if all(isinstance(part, str) for part in place)), None)


def names_of(config: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Label -> names of its entries, where evaluations name them."""
    return {e["label"]: e["names"] for e in _evaluations(config) if isinstance(e.get("names"), list) and "label" in e}


def _evaluations(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    evaluations = config.get("evaluations")
    return [e for e in evaluations.values() if isinstance(e, dict)] if isinstance(evaluations, dict) else []


def read(folder: str, split: str, names: Mapping[str, Sequence[str]]) -> Faces:
    """Faces from all over a split, always the same; records that cannot be read are passed over.

    Args:
      folder: the records.
      split: its name; where there is none, the first.
      names: label -> names of its entries, for labels that are vectors.

    Raises:
      UserError: the records are not there, have no images, or none can be read.
    """
    splits = records.num_records(folder)
    source = records.open_split(paths.resolve(folder), split if split in splits else min(splits), skip_corrupt=True)
    if "image" not in source.features:
        raise UserError(f"{source} has no field 'image'")
    rows, indices, thumbnails = [], [], []
    with phase(f"Reading faces of {source.folder}"):
        for index in np.unique(np.linspace(0, len(source) - 1, COUNT).round().astype(int)).tolist():
            try:
                record, image = records.read_with_image(source, index, at_least=2 * THUMBNAIL)
            except CorruptRecord:
                continue
            rows.append(record)
            indices.append(index)
            thumbnails.append(_thumbnail(image))
    if not rows:
        raise UserError(f"{source}: not one record can be read")
    labels: dict[str, Label] = {}

    def order(name):  # what tells most about a face first
        return name != "identity", len(source.features[name].shape), name not in names, name

    for name in sorted(source.features, key=order):
        labels |= _labels(name, source.features[name], [row[name] for row in rows], names.get(name, ()))
    return Faces(source, indices, thumbnails, labels)


def _thumbnail(image: np.ndarray) -> bytes:
    square = images.squash(image, THUMBNAIL)
    return cv2.imencode(".jpg", square[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _labels(name: str, feature: Any, column: list, names: Sequence[str]) -> dict[str, Label]:
    """One field of the records as labels: none of an image or of points, several of a vector."""
    if isinstance(feature, tfds.features.Text):
        distinct = sorted(set(column))
        if len(distinct) == len(column):  # names of files
            return {}
        return {name: Label(np.array([distinct.index(text) for text in column]), distinct)}
    if isinstance(feature, tfds.features.ClassLabel):
        classes = [*feature.names, "no class"]
        known = [value if 0 <= value < feature.num_classes else feature.num_classes for value in map(int, column)]
        return {name: Label(np.array(known), classes)}
    if not isinstance(feature, tfds.features.Tensor) or len(feature.shape) > 1:
        return {}
    values = np.array(column).reshape(len(column), -1)
    if values.dtype.kind not in "iufb" or not 0 < values.shape[1] <= MOST_ENTRIES:
        return {}
    if not feature.shape:
        return {name: _numbers(values[:, 0])}
    entries = names if len(names) == values.shape[1] else range(values.shape[1])
    return {f"{name} {entry}": _numbers(column) for entry, column in zip(entries, values.T, strict=True)}


def _numbers(values: np.ndarray) -> Label:
    if values.dtype.kind == "f":
        return Label(values)
    distinct, indices = np.unique(values, return_inverse=True)
    return Label(indices, [str(value) for value in distinct])
