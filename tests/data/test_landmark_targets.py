"""Targets of landmark networks, against loops, FITPACK and OpenCV. The official numbers: tests/parity."""

import cv2
import jax
import numpy as np
import pytest
from random_inputs import generator
from scipy import interpolate

from facejax.data import landmark_targets as targets
from facejax.data.landmark_targets import EDGES, NUM_POINTS, Edge

SIZE = 64
pytestmark = pytest.mark.usefixtures("quick_compilation")
point_maps, edge_maps, curves = (
    jax.jit(function, static_argnums=tuple(range(1, arguments)))
    for function, arguments in ((targets.point_maps, 2), (targets.edge_maps, 3), (targets._curve, 2))
)


def shrunk(pixels):
    return cv2.resize(pixels, (SIZE // 4, SIZE // 4), interpolation=cv2.INTER_LINEAR)


def spline(points, closed):
    """FITPACK's, at five places from one point to the next, and the last point."""
    if closed:
        points = np.concatenate([points, points[:1]])
    curve, knots = interpolate.splprep(points.T, s=0, per=closed)
    places = (knots[:-1, None] + np.diff(knots)[:, None] * np.arange(5) / 5).ravel()
    return np.stack(interpolate.splev(np.append(places, knots[-1]), curve), -1)


def drawn(curve):
    """The official way: four times as large, with OpenCV, then shrunk twice."""
    fine = np.zeros((4 * SIZE, 4 * SIZE), np.float32)
    cv2.polylines(fine, [(4 * curve.clip(0, SIZE - 1) + 0.5).astype(np.int32)], False, 1.0, thickness=4)
    return shrunk(cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def ring(count, radius=20.0):
    """Points around the middle at uneven angles."""
    angle = (np.arange(count) + generator().uniform(0, 0.5, count)) * 2 * np.pi / count
    return SIZE / 2 + radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def test_point_maps_are_windows_of_gaussians_also_at_the_border():
    points = generator().uniform(-3, SIZE + 3, (40, 2)).astype(np.float32)
    points[:4] = [0, 0], [SIZE - 1, SIZE - 1], [4.4, 20], [20, SIZE]
    for point, found in zip(points, point_maps(points[None], SIZE)[0], strict=True):
        (x, y), pixels = np.clip(point, 0, SIZE - 1), np.zeros((SIZE, SIZE), np.float32)
        left, top = int(x - 4.5), int(y - 4.5)
        for row in range(max(top, 0), min(int(y + 5.5), SIZE)):
            for column in range(max(left, 0), min(int(x + 5.5), SIZE)):
                squared = (column - left - 5) ** 2 + (row - top - 5) ** 2
                pixels[row, column] = np.exp(-squared / (2 * 1.5**2))
        np.testing.assert_allclose(found, shrunk(pixels), atol=1e-6)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("count", [4, 17])
def test_curves_are_fitpacks(count, closed):
    points = np.stack([ring(count), ring(count) * 0.9])
    for found, expected in zip(curves(np.float32(points), closed), points, strict=True):
        np.testing.assert_allclose(found, spline(expected, closed), atol=2e-3)


@pytest.mark.parametrize("closed", [False, True])
def test_edges_are_drawn_as_opencv_draws_them(closed):
    points = ring(9)
    (found,) = edge_maps(np.float32(points)[None], (Edge(closed, tuple(range(9))),), SIZE)[0]
    expected = drawn(spline(points, closed))
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert np.abs(found - expected).mean() < 0.2 * expected.mean() and found.max() > 0.5


@pytest.mark.parametrize("points", [[[5, 5], [5, 5], [20, 9], [30, 30]], [[5, 5], [30, 9], [30, 30]]])
def test_where_there_is_no_spline_an_edge_is_straight(points):
    (found,) = edge_maps(np.array([points], np.float32), (Edge(False, tuple(range(len(points)))),), SIZE)[0]
    np.testing.assert_allclose(found, drawn(np.array(points)), atol=0.25)


@pytest.mark.parametrize("name", EDGES)
def test_everything_of_a_face(name):
    points = generator().uniform(-10, SIZE + 10, (2, NUM_POINTS[name], 2)).astype(np.float32)
    found = jax.jit(targets.encode, static_argnums=(1, 2))(points, EDGES[name], SIZE)
    assert found.landmarks.shape == points.shape and np.abs(found.landmarks).max() <= 1
    assert found.pointmaps.shape == (*points.shape[:2], SIZE // 4, SIZE // 4)
    assert found.edgemaps.shape == (2, len(EDGES[name]), SIZE // 4, SIZE // 4)
    for array in found:
        assert array.dtype == np.float32 and np.isfinite(array).all()
    used = {point for edge in EDGES[name] for point in edge.points}
    assert used == set(range(points.shape[1])) - {"wflw": {96, 97}, "cofw": {16, 17, 28}, "300w": set()}[name]


def test_landmarks_span_the_image_from_edge_to_edge():
    found = targets.normalized(np.array([[-0.5, SIZE - 0.5], [SIZE / 2 - 0.5, 0], [-9, 999]]), SIZE)
    np.testing.assert_allclose(found, [[-1, 1], [0, 1 / SIZE - 1], [-1, 1]], atol=1e-7)
