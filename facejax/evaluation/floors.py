"""Features that are not learned: pixels, their principal components, histograms of gradients.

A learned representation must beat them.
"""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from facejax.data import images
from facejax.errors import UserError

COMPONENTS = 128  # maximum number of principal components
_FITTED_ON = 10_000  # maximum number of images for the components


class Floor(NamedTuple):
    """Features of an image without learning.

    Attributes:
      side: of the square that an image is squashed to, pixels.
      features: uint8 [side, side, 3] -> float32 [D].
      reduced: whether the features are reduced to principal components.
      is_heatmap: whether the features are heatmaps of an image and of its mirror image, float32 [2, h, w, Q].
    """

    side: int
    features: Callable[[np.ndarray], np.ndarray]
    reduced: bool = False
    is_heatmap: bool = False

    def rows(self, image: np.ndarray) -> np.ndarray:
        """Features [D] of an image uint8 [H, W, 3]."""
        return self.features(images.squash(image, self.side))


def pixels(square: np.ndarray) -> np.ndarray:
    """The values themselves, 0 to 1."""
    return square.ravel().astype(np.float32) / 255


def hog(square: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients: 9 orientations, cells of 8 x 8 pixels, blocks of 2 x 2 cells.

    Source: Dalal & Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005; scikit-image's.
    """
    from skimage.feature import hog as histograms

    return histograms(square, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=2).astype(np.float32)


def blocks(square: np.ndarray) -> np.ndarray:
    """Heatmaps that look at no image: a grid of 8 x 8 cells, whose regions are 4 rows of 2 blocks."""
    rows, columns = np.mgrid[:8, :8]
    return np.broadcast_to(np.eye(8, dtype=np.float32)[2 * (rows // 2) + columns // 4], (2, 8, 8, 8))


FLOORS = {
    "HOG": Floor(64, hog),
    "PCA of pixels": Floor(24, pixels, reduced=True),
    "16x16 pixels": Floor(16, pixels),
    "fixed blocks": Floor(8, blocks, is_heatmap=True),
}


def check_installed() -> None:
    """Raises UserError if the packages of the extra `evaluate` are missing."""
    for module in ("skimage", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"the table's floors and pictures need {module}: pip install 'facejax[evaluate]'")


def principal_components(fitted: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coordinates along the directions of largest variance, at most `COMPONENTS` of them.

    Args:
      fitted: [n, D], from which the directions are computed (from evenly spaced rows, if there are more than 10 000).
      *others: [m, D] each, transformed in the same way.

    Returns:
      float32 [n, C] and [m, C] each.
    """
    rows = fitted[np.linspace(0, len(fitted) - 1, min(len(fitted), _FITTED_ON)).astype(int)]
    mean, dimensions = rows.mean(0, dtype=np.float64), fitted.shape[1]
    centred = rows - mean
    kept = min(COMPONENTS, dimensions, max(len(rows) - 1, 1))
    if len(rows) < dimensions:
        directions = scipy.linalg.svd(centred, full_matrices=False)[2][:kept].T
    else:
        span = [dimensions - kept, dimensions - 1]
        directions = scipy.linalg.eigh(centred.T @ centred, subset_by_index=span)[1][:, ::-1]
    return tuple(((part - mean) @ directions).astype(np.float32) for part in (fitted, *others))
