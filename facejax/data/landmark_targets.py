"""What a network that finds landmarks by heatmaps is trained towards, computed on the device.

Source: encoders of the official code of STAR (Zhou et al., CVPR 2023, arXiv 2306.02763), which are those of ADNet. They
draw edges with OpenCV on the host. Here the distance from the curve decides how much of a pixel is covered; at 256 px
the mean difference is 2e-4, the largest about 0.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STRIDE = 4  # pixels a cell of the maps
SIGMA = 1.5  # of a point's Gaussian, in pixels
_REACH = 3 * SIGMA
_STEPS = 5  # of a curve between two points
_WIDTH = 1.25  # of an edge, pixels: OpenCV draws five quarters where four are asked for
_OFFSET = 0.375  # pixels, up and left, by which the official canvas with its sub-pixels is displaced
_WRAPPED = 8  # points that a closed curve is continued by; a spline's ends matter by 0.27 for each point between


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
    """What `encode` returns; s is the size over `STRIDE`."""

    landmarks: jax.Array  # [B, P, 2] in [-1, 1]
    pointmaps: jax.Array  # [B, P, s, s] in [0, 1]
    edgemaps: jax.Array  # [B, E, s, s] in [0, 1]


def encode(points: jax.Array, edges: Sequence[Edge], size: int) -> Targets:
    """All targets of a batch.

    Args:
      points: [B, P, 2], x and y in pixels, 0 in the middle of the first one; where they leave the image they are moved
        to its border.
      edges: E of them, of `EDGES`.
      size: side of the images in pixels, a multiple of `STRIDE`.
    """
    cells = size // STRIDE
    edgemaps = edge_maps(points, edges, size) if edges else jnp.zeros((len(points), 0, cells, cells), points.dtype)
    return Targets(normalized(points, size), point_maps(points, size), edgemaps)


def normalized(points: jax.Array, size: int) -> jax.Array:
    """Pixels to [-1, 1], from the outer edge of the first pixel to that of the last; [..., 2]."""
    return jnp.clip((2 * points + 1) / size - 1, -1, 1)


def point_maps(points: jax.Array, size: int) -> jax.Array:
    """A Gaussian for each point, in a window of 10 pixels a side, shrunk: [B, P, 2] to [B, P, s, s].

    Its centre is 5 pixels from the window's corner: the point's pixel or the next one, as in the official code.
    """
    points = jnp.clip(points, 0, size - 1)
    start, end = (jnp.trunc(points + reach)[..., None] for reach in (-_REACH, _REACH + 1))
    pixel = jnp.arange(size, dtype=points.dtype)
    gaussian = jnp.exp(-jnp.square(pixel - start - 5) / (2 * SIGMA**2))
    profile = jnp.where((start <= pixel) & (pixel < end), gaussian, 0)
    # Bilinear shrinking at half-pixel centres is the mean of the two pixels in the middle of every four.
    cells = profile.reshape(*profile.shape[:-1], -1, STRIDE)[..., 1:3].mean(-1)
    x, y = jnp.moveaxis(cells, -2, 0)
    return y[..., :, None] * x[..., None, :]


def edge_maps(points: jax.Array, edges: Sequence[Edge], size: int) -> jax.Array:
    """A curve through the points of each of E >= 1 edges: [B, P, 2] to [B, E, s, s]."""
    maps, cells = {}, size // STRIDE
    kinds = [(edge.closed, len(edge.points)) for edge in edges]
    for closed, count in dict.fromkeys(kinds):  # all edges of a kind together: each takes long to compile
        alike = [number for number, kind in enumerate(kinds) if kind == (closed, count)]
        chosen = points[:, np.array([edges[number].points for number in alike])]
        lines = _line(_curve(chosen.reshape(-1, count, 2), closed), size)
        maps |= zip(alike, jnp.moveaxis(lines.reshape(len(points), -1, cells, cells), 1, 0), strict=True)
    return jnp.stack([maps[number] for number in range(len(edges))], axis=1)


def _line(curve, size: int):
    """How much a line along a curve [B, K, 2] covers of the pixels in the middle of each cell: [B, s, s]."""
    curve = jnp.clip(curve, 0, size - 1) - _OFFSET
    step = jnp.diff(curve, axis=1)
    pixel = jnp.asarray(np.arange(size).reshape(-1, STRIDE)[:, 1:3].ravel(), curve.dtype)
    away = pixel - curve[:, :-1, :, None]  # from the start of each piece, along x and along y
    length = jnp.square(step).sum(-1)[..., None, None]

    def of_pixels(x_and_y):  # the sum of what a pixel has along x and along y: [B, K - 1, 2 s, 2 s]
        return x_and_y[:, :, 0, None, :] + x_and_y[:, :, 1, :, None]

    along = of_pixels(away * step[..., None])
    nearest = (along / jnp.maximum(length, 1e-9)).clip(0, 1)
    squared = of_pixels(jnp.square(away)) - nearest * (2 * along - nearest * length)
    distance = jnp.sqrt(jnp.maximum(squared.min(1), 0))
    covered = jnp.clip((1 + _WIDTH) / 2 - distance, 0, 1)
    cells = size // STRIDE
    return covered.reshape(len(curve), cells, 2, cells, 2).mean((2, 4))


def _curve(points, closed: bool):
    """A cubic spline through points [B, n, 2] in `_STEPS` pieces from one to the next, [B, K, 2].

    Straight where they are fewer than 4, or where two neighbours are equal.
    """
    count = points.shape[1]
    if closed:
        points = points[:, np.arange(-_WRAPPED, count + 1 + _WRAPPED) % count]
    step = jnp.diff(points, axis=1)
    length = jnp.sqrt(jnp.square(step).sum(-1))
    pieces = slice(_WRAPPED, _WRAPPED + count) if closed else slice(None)
    start, step = points[:, :-1, None], step[:, :, None]
    share = jnp.arange(_STEPS, dtype=points.dtype)[:, None] / _STEPS
    curve = start + share * step
    if count > 3:
        smooth = (length.min(1) > 1e-3)[:, None]
        length = jnp.where(smooth, length, 1)
        slope = step[:, :, 0] / length[..., None]
        tangents = _tangents(length, slope)
        leaving, arriving = (length[..., None] * (tangents[:, side] - slope) for side in (np.s_[:-1], np.s_[1:]))
        bend = share * (1 - share) * ((1 - share) * leaving[:, :, None] - share * arriving[:, :, None])  # Hermite's
        curve += jnp.where(smooth[..., None, None], bend, 0)
    end = points[:, _WRAPPED : _WRAPPED + 1] if closed else points[:, -1:]
    return jnp.concatenate([curve[:, pieces].reshape(len(points), -1, 2), end], axis=1)


def _tangents(length, slope):
    """Derivatives at the n knots of the interpolating spline whose first and last two pieces are one polynomial each.

    Args:
      length: of the pieces, [B, n - 1].
      slope: of their chords, [B, n - 1, 2].

    Returns:
      [B, n, 2]. Source: de Boor, "A practical guide to splines", 1978, chapter IV ("not a knot").
    """
    length = length[..., None]
    before, after = length[:, :-1], length[:, 1:]
    both = before + after

    def at_end(outer, inner, outer_slope, inner_slope):
        total = outer + inner
        return ((outer + 2 * total) * inner * outer_slope + outer**2 * inner_slope) / total

    first = at_end(before[:, :1], after[:, :1], slope[:, :1], slope[:, 1:2])
    last = at_end(after[:, -1:], before[:, -1:], slope[:, -1:], slope[:, -2:-1])
    right = 3 * (after * slope[:, :-1] + before * slope[:, 1:])
    # The equations of the ends, taken from those of their neighbours.
    right = right.at[:, :1].add(-first).at[:, -1:].add(-last)
    diagonal = (2 * both).at[:, :1].add(-both[:, :1]).at[:, -1:].add(-both[:, -1:])
    inner = _tridiagonal(after, diagonal, before, right)
    start = (first - both[:, :1] * inner[:, :1]) / after[:, :1]
    end = (last - both[:, -1:] * inner[:, -1:]) / before[:, -1:]
    return jnp.concatenate([start, inner, end], axis=1)


def _tridiagonal(lower, diagonal, upper, right):
    """Solves for x [B, n, C] with lower x_(i-1) + diagonal x_i + upper x_(i+1) = right; all are [B, n, 1 or C]."""

    def down(carried, row):
        ratio, value = carried
        lower, diagonal, upper, right = row
        pivot = diagonal - lower * ratio
        carried = upper / pivot, (right - lower * value) / pivot
        return carried, carried

    def up(x, row):
        ratio, value = row
        x = value - ratio * x
        return x, x

    rows = [jnp.swapaxes(array, 0, 1) for array in (lower, diagonal, upper, right)]
    zeros = jnp.zeros_like(rows[0][0]), jnp.zeros_like(rows[3][0])
    _, eliminated = jax.lax.scan(down, zeros, rows)
    _, x = jax.lax.scan(up, zeros[1], eliminated, reverse=True)
    return jnp.swapaxes(x, 0, 1)
