"""The squares of a photo to embed: the whole photo, or the faces found in it."""

import numpy as np

from facejax import embedding
from facejax.data.align import onto_template, warp_smoothly
from facejax.data.face_detection import Face, Finder, cut_square
from facejax.embedding import Source
from facejax.encoder import Encoder


class FaceCutter:
    """Cuts squares uint8 [S, S, 3] for an encoder out of a photo.

    Args:
      encoder: whose `preprocessing.size` is S.
      finder: finds faces; None: the whole photo is fitted.
      crop: crop a face to a square this many times as long as its box, and fit it; None: align it to the template of
        recognition at S px.

    Attributes:
      boxes: of the found faces, by photo.
    """

    def __init__(self, encoder: Encoder, finder: Finder | None = None, crop: float | None = None):
        self.encoder, self.finder, self._crop = encoder, finder, crop
        self.boxes: dict[Source, list[np.ndarray]] = {}

    def __call__(self, source: Source) -> list[np.ndarray]:
        """The squares of a photo, given by its path; the largest face first.

        Raises:
          ValueError: it cannot be read, is not an image, or has no face.
        """
        if self.finder is None:
            return self.encoder.fit(source)
        rgb = embedding.decode(source)
        faces = self.finder(rgb)
        self.boxes[source] = [face.box for face in faces]
        return [self._cut(rgb, face) for face in faces]

    def _cut(self, rgb: np.ndarray, face: Face) -> np.ndarray:
        preprocessing = self.encoder.preprocessing
        if self._crop is None:
            return warp_smoothly(rgb, onto_template(face.points, preprocessing.size), preprocessing.size)
        square, _ = cut_square(rgb, face.box, self._crop)
        return preprocessing.fit_to_square(square)
