"""The faces in a folder of photos: their features, and the nearest ones to a face."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from facejax import embedding, pictures
from facejax.errors import UserError
from facejax.evaluation.unit_rows import unit_rows
from facejax.face_cutter import FaceCutter
from facejax.feature_file import PhotoFeatures


class Neighbour(NamedTuple):
    """A face near another one: cosine of their features, its photo, and its embedded square."""

    cosine: float
    path: str
    square: np.ndarray


class PhotoFolder:
    """A folder of photos, with the settings that embed its faces.

    Args:
      folder: of the photos.
      cutter: cuts the squares, and has the encoder.
      kind: of features.
      flip: whether the features of the mirror image are added.
    """

    def __init__(self, folder: epath.Path, cutter: FaceCutter, *, kind: str, flip: bool = False):
        self._folder, self._cutter, self._kind, self._flip = folder, cutter, kind, flip

    def embed(self, names: Sequence[str]) -> tuple[PhotoFeatures, dict[str, str]]:
        """Features of the named photos, and the skipped ones with the reason."""
        skipped: dict[str, str] = {}
        files = [self._folder / name for name in names]
        parts = list(
            embedding.parts(
                self._cutter.encoder,
                files,
                faces=self._cutter,
                flip=self._flip,
                unreadable=lambda position, reason: skipped.update({names[position]: reason}),
            )
        )
        positions = [position for part in parts for position in part.positions]
        boxes = None
        if self._cutter.finder is not None:
            boxes = np.array([box for at in dict.fromkeys(positions) for box in self._cutter.boxes[files[at]]])
        rows = [part.features[self._kind] for part in parts]
        features = np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)
        return PhotoFeatures(self._kind, [names[at] for at in positions], features, boxes), skipped

    def neighbours(self, photos: PhotoFeatures, query: epath.Path, count: int) -> list[Neighbour]:
        """The largest face of a photo, then the nearest faces of the folder's other photos.

        Raises:
          UserError: the photo cannot be read, or has no face.
        """
        try:
            square = self._cutter(query)[0]
        except ValueError as error:
            raise UserError(f"{query}: {error}") from error
        (part,) = embedding.parts(self._cutter.encoder, [query], faces=lambda _: [square], flip=self._flip)
        cosines = unit_rows(photos.features) @ unit_rows(part.features[self._kind])[0]
        others = [row for row in np.argsort(-cosines, kind="stable") if self._folder / photos.paths[row] != query]
        return [
            Neighbour(1.0, query.name, square),
            *(Neighbour(float(cosines[row]), photos.paths[row], self._square(photos, row)) for row in others[:count]),
        ]

    def _square(self, photos: PhotoFeatures, row: int) -> np.ndarray:
        path = photos.paths[row]
        return self._cutter(self._folder / path)[photos.paths[:row].count(path)]  # faces of a photo are neighbours


def draw(neighbours: Sequence[Neighbour]) -> np.ndarray:
    """The first face above the others, each with its cosine and its photo: uint8 [H, W, 3]."""
    large = pictures.legible([np.stack([neighbour.square for neighbour in neighbours])])[0]
    captions = [f"{neighbour.cosine:.3f} {neighbour.path}" for neighbour in neighbours[1:]]
    if not captions:
        return pictures.sheet([large], captions=[[neighbours[0].path]])
    return pictures.sheet([large[:1], large[1:]], captions=[[neighbours[0].path], captions])
