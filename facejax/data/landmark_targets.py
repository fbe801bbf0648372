"""What a network that finds landmarks by heatmaps is trained towards, computed on the host.

Source: encoders of the official code of STAR (Zhou et al., CVPR 2023, arXiv 2306.02763), which are those of ADNet.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import interpolate

STRIDE = 4  # pixels a cell of the maps
SIGMA = 1.5  # of a point's Gaussian, in pixels
_REACH = 3 * SIGMA
_FINER = 4  # sub-pixels that an edge is drawn in
_STEPS = 5  # of a curve between two points


class Edge(NamedTuple):
    """A line on the face through some landmarks, such as a lip."""

    closed: bool
    points: tuple[int, ...]


def _edge(closed: bool, first: int, last: int) -> Edge:
    return Edge(closed, tuple(range(first, last + 1)))


EDGES = {  # of the points of a data set
    "300w": (
        _edge(False, 0, 16),  # contour
        _edge(False, 17, 21),  # eyebrows
        _edge(False, 22, 26),
        _edge(False, 27, 30),  # bridge of the nose
        _edge(False, 31, 35),  # nostrils
        _edge(True, 36, 41),  # eyes
        _edge(True, 42, 47),
        _edge(True, 48, 59),  # lips, outside and inside
        _edge(True, 60, 67),
    ),
    "wflw": (
        _edge(False, 0, 32),
        _edge(True, 33, 41),
        _edge(True, 42, 50),
        _edge(False, 51, 54),
        _edge(False, 55, 59),
        _edge(True, 60, 67),
        _edge(True, 68, 75),
        _edge(True, 76, 87),
        _edge(True, 88, 95),
    ),
    "cofw": (
        Edge(True, (0, 4, 2, 5)),  # eyebrows
        Edge(True, (1, 6, 3, 7)),
        Edge(True, (8, 12, 10, 13)),  # eyes; the second is open in the official code too
        Edge(False, (9, 14, 11, 15)),
        Edge(True, (18, 20, 19, 21)),  # nose
        Edge(True, (22, 26, 23, 27)),  # lips
        Edge(True, (22, 24, 23, 25)),
    ),
}
NUM_POINTS = {"300w": 68, "wflw": 98, "cofw": 29}


class Targets(NamedTuple):
    """What `encode` returns, all float32; s is the size over `STRIDE`."""

    landmarks: np.ndarray  # [P, 2] in [-1, 1]
    pointmaps: np.ndarray  # [P, s, s] in [0, 1]
    edgemaps: np.ndarray  # [E, s, s] in [0, 1]


def encode(points: np.ndarray, edges: Sequence[Edge], size: int) -> Targets:
    """All targets of one image.

    Args:
      points: [P, 2], x and y in pixels, 0 in the middle of the first one; where they leave the image they are moved to
        its border.
      edges: E of them, of `EDGES`.
      size: side of the image in pixels, a multiple of `STRIDE`.
    """
    points = np.asarray(points, np.float32)
    return Targets(normalized(points, size), point_maps(points, size), edge_maps(points, edges, size))


def normalized(points: np.ndarray, size: int) -> np.ndarray:
    """Pixels to [-1, 1], from the outer edge of the first pixel to that of the last; [..., 2]."""
    return np.clip((2 * np.asarray(points, np.float32) + 1) / size - 1, -1, 1)


def point_maps(points: np.ndarray, size: int) -> np.ndarray:
    """A Gaussian for each point [P, 2], in a window of 10 pixels a side, shrunk to [P, size / STRIDE, size / STRIDE].

    Its centre is 5 pixels from the window's corner: the point's pixel or the next one, as in the official code.
    """
    points = np.clip(np.asarray(points, np.float32), 0, size - 1)
    start = np.trunc(points - _REACH)[..., None]
    end = np.trunc(points + _REACH + 1)[..., None]
    pixel = np.arange(size, dtype=np.float32)
    profile = np.exp(-np.square(pixel - start - 5) / (2 * SIGMA**2)) * (
        (start <= pixel) & (pixel < end)
    )  # [P, 2, size]
    x, y = np.moveaxis(_middle(profile, axis=-1), 1, 0)
    return (y[:, :, None] * x[:, None, :]).astype(np.float32)


def _middle(array: np.ndarray, axis: int) -> np.ndarray:
    """Bilinear shrinking by `STRIDE` at half-pixel centres: the mean of the two entries in the middle of every four."""
    cells = np.moveaxis(array, axis, -1).reshape(*np.delete(array.shape, axis), -1, STRIDE)
    return np.moveaxis(cells[..., 1:3].mean(-1), -1, axis)


def edge_maps(points: np.ndarray, edges: Sequence[Edge], size: int) -> np.ndarray:
    """A curve one pixel wide through the points of each edge: [E, size / STRIDE, size / STRIDE]."""
    maps = np.zeros((len(edges), size * _FINER, size * _FINER), np.float32)
    for canvas, edge in zip(maps, edges, strict=True):
        curve = np.clip(_curve(np.asarray(points, np.float32)[list(edge.points)], edge.closed), 0, size - 1)
        corners = (curve * _FINER + 0.5).astype(np.int32)
        cv2.polylines(canvas, [corners], edge.closed, 1.0, thickness=_FINER)
    pixels = maps.reshape(len(edges), size, _FINER, size, _FINER).mean((2, 4))
    return _middle(_middle(pixels, axis=1), axis=2)


def _curve(points: np.ndarray, closed: bool) -> np.ndarray:
    """A cubic spline through points [N, 2]; they themselves where they are fewer than 4 or two neighbours are equal."""
    x, y = np.concatenate([points, points[:1]]).T if closed else points.T
    try:
        spline, at = interpolate.splprep([x, y], s=0, per=closed)
    except (TypeError, ValueError):
        return points
    steps = np.arange(_STEPS) / _STEPS
    between = (at[:-1, None] + np.diff(at)[:, None] * steps).ravel()
    return np.stack(interpolate.splev(between if closed else np.append(between, at[-1]), spline), axis=-1)
