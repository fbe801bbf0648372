"""Similarities, and images under them, against OpenCV."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.data import warp

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE = 24


@pytest.fixture(scope="module")
def drawn():
    """A few similarities as their parts: angle, scale, start, end."""
    rng = generator()
    return rng.uniform(-3, 3, 3), rng.uniform(0.5, 2, 3), rng.uniform(5, 20, (3, 2)), rng.uniform(5, 20, (3, 2))


def test_a_similarity_turns_clockwise_and_scales_around_its_start(drawn):
    angle, scale, start, end = drawn
    points = generator().uniform(0, SIZE, (3, 7, 2))
    found = warp.move(points, warp.similarity(*drawn))
    for i in range(3):
        x, y = (points[i] - start[i]).T
        cosine, sine = scale[i] * np.cos(angle[i]), scale[i] * np.sin(angle[i])  # y points down
        expected = np.stack([cosine * x - sine * y, sine * x + cosine * y], 1) + end[i]
        np.testing.assert_allclose(found[i], expected, atol=1e-4)
    back = warp.similarity(-angle, 1 / scale, end, start)
    np.testing.assert_allclose(warp.move(found, back), points, atol=1e-4)


def test_images_are_opencvs(drawn):
    images = generator().uniform(0, 1, (3, 20, 30, 3)).astype(np.float32)
    angle, scale, start, end = drawn
    back = np.asarray(warp.similarity(-angle, 1 / scale, end, start))
    found = jax.jit(warp.warp, static_argnames="size")(images, back, size=SIZE)
    for image, matrix, view in zip(images, back, found, strict=True):
        shifted = matrix.copy()  # from pixels' corners to their middles
        shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(image, shifted, (SIZE, SIZE), flags=flags)
        assert np.abs(view - expected).max() < 0.05 and np.abs(view - expected).mean() < 0.01  # it has 32 sub-pixels


@pytest.mark.parametrize(("shift", "rotation"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_shifts_and_turns_are_drawn_for_each_image(shift, rotation):
    image = np.zeros((1, 40, 40, 1), np.float32)
    image[:, 18:22, 28:32] = 1  # 9.5 right of the middle
    images = np.repeat(image, 300, 0)
    settings = {"shift": 0.2, "shift_probability": shift, "rotation": 10.0, "rotation_probability": rotation}
    moved = jax.jit(lambda key: warp.shift_and_turn(key, images, **settings))(jax.random.key(0))[..., 0]
    mass = jnp.maximum(moved.sum((1, 2)), 1e-6)
    x, y = (((jnp.arange(40) + 0.5) * moved.sum(axis)).sum(1) / mass - 20 for axis in (1, 2))
    inside = np.asarray(mass) > 15.9
    if shift:
        assert 7 < np.ptp(y[inside]) <= 16.1 and np.abs(np.asarray(y[inside]).mean()) < 1  # 0.2 of 40 px, both ways
        assert np.std(x[inside]) > 2
    elif rotation:
        angle = np.rad2deg(np.arctan2(y, x))
        assert 9 < angle.max() < 10.1 and -10.1 < angle.min() < -9
        np.testing.assert_allclose(np.hypot(x, y), 10, atol=0.2)
    else:
        np.testing.assert_array_equal(moved, images[..., 0])
