"""Landmarks: iBUG's `.pts`, files with a point in each line, and the five points of a face from 68."""

import re

import numpy as np


def read_pts(data: bytes, num_points: int = 68) -> np.ndarray:
    """The points of a `.pts` file, counted from 0: (0, 0) is the centre of the top left pixel.

    The file counts from 1, as MATLAB does (https://ibug.doc.ic.ac.uk/resources/300-W/).

    Returns:
      float32 [num_points, 2]: x, y in pixels.

    Raises:
      ValueError: it is not such a file, or has another number of points.
    """
    match = re.fullmatch(rb"\s*version:\s*1\s+n_points:\s*(\d{1,9})\s*\{([^{}]*)\}\s*", data)
    if not match:
        raise ValueError("not a .pts file: 'version: 1', 'n_points: N' and the points in braces are expected")
    points = _numbers(match[2])
    if int(match[1]) != num_points or points.size != 2 * num_points:
        raise ValueError(f"has {points.size / 2:g} points and n_points {int(match[1])}; {num_points} are needed")
    return points.reshape(num_points, 2) - np.float32(1)


def read_rows(data: bytes, num_points: int) -> np.ndarray:
    """The points of a file whose first lines have an x and a y each, unchanged.

    Returns:
      float32 [num_points, 2].

    Raises:
      ValueError: fewer lines, or not two finite numbers in one of them.
    """
    rows = [_numbers(line) for line in data.splitlines()[:num_points]]
    if len(rows) < num_points or any(len(row) != 2 for row in rows):
        raise ValueError(f"does not begin with {num_points} lines of x and y")
    return np.stack(rows)


def five_of_68(points: np.ndarray) -> np.ndarray:
    """Eyes, nose tip and corners of the mouth, from the viewer's left to right: [68, 2] in iBUG's order to [5, 2]."""
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    return np.stack([*eyes, points[30], points[48], points[54]])


def box_around(points: np.ndarray) -> np.ndarray:
    """The smallest x1, y1, x2, y2 that holds all points [N, 2]."""
    return np.concatenate([points.min(0), points.max(0)])


def _numbers(text: bytes) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = np.array(text.split()).astype(np.float32)  # ValueError: not a number
    if not np.isfinite(values).all():
        raise ValueError("a coordinate is not finite")
    return values
