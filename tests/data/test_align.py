import subprocess
import sys

import cv2
import numpy as np
import pytest

import facejax
from facejax.data import align

POINTS = np.array([[30.0, 40.0], [60.0, 35.0], [47.0, 55.0], [38.0, 72.0], [62.0, 68.0]])


def test_similarity_is_the_least_squares_solution_and_opencvs():
    rng = np.random.default_rng(0)
    for _ in range(10):
        points = POINTS + rng.normal(scale=3, size=(5, 2))
        # least squares over a, b, tx, ty of [a -b; b a], solved directly
        rows = [[x, -y, 1, 0] for x, y in points] + [[y, x, 0, 1] for x, y in points]
        a, b, tx, ty = np.linalg.lstsq(np.array(rows), align.TEMPLATE_112.T.reshape(-1), rcond=None)[0]
        np.testing.assert_allclose(align.onto_template(points), [[a, -b, tx], [b, a, ty]], rtol=1e-9, atol=1e-9)
    turn, scale = np.deg2rad(33), 1.7
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    target = POINTS @ rotation.T + (5, -9)
    estimated, _ = cv2.estimateAffinePartial2D(POINTS, target)
    np.testing.assert_allclose(align.similarity(POINTS, target), estimated, atol=1e-4)


def test_mirrored_points_are_turned_not_mirrored():
    assert np.linalg.det(align.onto_template(POINTS * (-1, 1))[:, :2]) > 0


def test_a_face_and_its_mirror_image():
    image = np.random.default_rng(1).integers(0, 256, (90, 80, 3), np.uint8)
    face, mirror = align.align_with_mirror(image, POINTS)
    np.testing.assert_array_equal(face, align.align(image, POINTS))
    np.testing.assert_array_equal(mirror[:, ::-1], face)
    assert (face != mirror).mean() > 0.5
    assert align.align(image, POINTS, 224).shape == (224, 224, 3)


def test_public_name_is_imported_when_it_is_asked_for():
    assert facejax.align is align.align and "align" in dir(facejax)
    with pytest.raises(AttributeError, match="module 'facejax' has no attribute 'allign'"):
        facejax.allign  # noqa: B018
    code = "import sys, facejax; print(*sys.modules); facejax.align; print(*sys.modules)"
    before, after = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert not {"cv2", "numpy", "jax"} & set(before.split())
    assert {"cv2", "numpy"} < set(after.split()) and "jax" not in after.split()


def test_points_land_on_the_template_in_pixels():
    """Dots at a turned template's points: where they are afterwards, and black where the image ends."""
    points = align.TEMPLATE_112 @ np.array([[0.8, -0.4], [0.4, 0.8]]) + (20, 70)
    image = np.zeros((200, 180, 3), np.uint8)
    image[..., 1] = 50
    for x, y in points.round().astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    face = facejax.align(image, points.tolist())
    assert face.shape == (112, 112, 3) and face.dtype == np.uint8
    for x, y in align.TEMPLATE_112.round().astype(int):
        assert (face[y, x] == 255).all()
    shifted = facejax.align(image, points + 60)
    assert shifted[0, 0].tolist() == [0, 50, 0] and shifted[-1, -1].tolist() == [0, 0, 0]


def test_what_is_no_image():
    for image in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3))):
        with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\], got"):
            facejax.align(image, POINTS)


def test_eyes_of_68_points_are_the_means_of_their_corners():
    points = np.random.default_rng(2).uniform(0, 100, (68, 2))
    five = align.five_points(points)
    np.testing.assert_allclose(five[0], (points[36] + points[39]) / 2)
    np.testing.assert_allclose(five[1], (points[42] + points[45]) / 2)
    np.testing.assert_array_equal(five[2:], points[[30, 48, 54]])
    np.testing.assert_array_equal(align.five_points(five), five)


def test_points_that_make_no_sense():
    for points in (np.ones((5, 2)), POINTS * np.nan):
        with pytest.raises(ValueError, match="missing, or all the same"):
            align.onto_template(points)
    with pytest.raises(ValueError, match=r"expected \[5, 2\] or \[68, 2\], got \[98, 2\]"):
        align.five_points(np.ones((98, 2)))
