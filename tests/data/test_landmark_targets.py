"""Targets of landmark networks, against loops and OpenCV. The official numbers are compared in tests/parity."""

import cv2
import numpy as np
import pytest
from random_inputs import generator

from facejax.data import landmark_targets as targets
from facejax.data.landmark_targets import EDGES, NUM_POINTS, Edge

SIZE = 64


def shrunk(pixels):
    return cv2.resize(pixels, (SIZE // 4, SIZE // 4), interpolation=cv2.INTER_LINEAR)


def test_point_maps_are_windows_of_gaussians_also_at_the_border():
    points = generator().uniform(-3, SIZE + 3, (40, 2)).astype(np.float32)
    points[:4] = [0, 0], [SIZE - 1, SIZE - 1], [4.4, 20], [20, SIZE]
    for point, found in zip(points, targets.point_maps(points, SIZE), strict=True):
        (x, y), pixels = np.clip(point, 0, SIZE - 1), np.zeros((SIZE, SIZE), np.float32)
        left, top = int(x - 4.5), int(y - 4.5)
        for row in range(max(top, 0), min(int(y + 5.5), SIZE)):
            for column in range(max(left, 0), min(int(x + 5.5), SIZE)):
                squared = (column - left - 5) ** 2 + (row - top - 5) ** 2
                pixels[row, column] = np.exp(-squared / (2 * 1.5**2))
        np.testing.assert_allclose(found, shrunk(pixels), atol=1e-6)


def test_edge_maps_are_lines_one_pixel_wide():
    points = np.array([[10, 12], [20, 22], [32, 34], [44, 46.0]])  # on one line
    ring = 32 + 20 * np.stack([np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3)], 1)
    edges = [Edge(False, (0, 1, 2, 3)), Edge(True, (4, 5, 6, 7, 8, 9)), Edge(False, (4, 5, 6, 7, 8, 9))]
    line, closed, opened = targets.edge_maps(np.concatenate([points, ring]), edges, SIZE)
    fine = np.zeros((4 * SIZE, 4 * SIZE), np.float32)
    cv2.line(fine, (40, 48), (176, 184), 1.0, thickness=4)
    expected = shrunk(cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    np.testing.assert_allclose(line, expected, atol=0.2)  # drawn in one piece, not in fifteen
    assert np.abs(line - expected).mean() < 0.005
    row, column = np.mgrid[0 : SIZE // 4, 0 : SIZE // 4] * 4 + 1.5
    radius = np.hypot(row - 32, column - 32)
    assert not closed[np.abs(radius - 20) > 5].any()  # a circle, for a spline is not a hexagon
    assert (closed[np.abs(radius - 20) < 2] > 0).mean() > 0.4  # not all: half of the pixels are not looked at
    assert opened[:6, 10:].sum() < closed[:6, 10:].sum() / 2  # between the last point and the first
    assert closed.dtype == np.float32 and 0.5 < closed.max() <= 1


@pytest.mark.parametrize("points", [[[5, 5], [5, 5], [20, 9], [30, 30]], [[5, 5], [30, 9], [30, 30]]])
def test_where_there_is_no_spline_an_edge_is_straight(points):
    edge = Edge(False, tuple(range(len(points))))
    (found,) = targets.edge_maps(np.array(points, np.float32), [edge], SIZE)
    fine = np.zeros((4 * SIZE, 4 * SIZE), np.float32)
    cv2.polylines(fine, [4 * np.array(points, np.int32)], False, 1.0, thickness=4)
    np.testing.assert_allclose(found, shrunk(cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA)), atol=1e-6)


@pytest.mark.parametrize("name", EDGES)
def test_everything_of_a_face(name):
    points = generator().uniform(-10, SIZE + 10, (NUM_POINTS[name], 2))
    found = targets.encode(points, EDGES[name], SIZE)
    assert found.landmarks.shape == points.shape and np.abs(found.landmarks).max() <= 1
    assert found.pointmaps.shape == (len(points), SIZE // 4, SIZE // 4)
    assert found.edgemaps.shape == (len(EDGES[name]), SIZE // 4, SIZE // 4)
    for array in found:
        assert array.dtype == np.float32 and np.isfinite(array).all()
    used = {point for edge in EDGES[name] for point in edge.points}
    assert used == set(range(len(points))) - {"wflw": {96, 97}, "cofw": {16, 17, 28}, "300w": set()}[name]


def test_landmarks_span_the_image_from_edge_to_edge():
    found = targets.normalized([[-0.5, SIZE - 0.5], [SIZE / 2 - 0.5, 0], [-9, 999]], SIZE)
    np.testing.assert_allclose(found, [[-1, 1], [0, 1 / SIZE - 1], [-1, 1]])
