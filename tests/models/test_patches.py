"""Patch sampling against a loop in float64, in both geometries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.models import patches

HEIGHT, WIDTH, SIZE = 13, 17, 4


def bilinear(image, x, y):
    """Value of an image [H, W, C] at (x, y), zero outside."""
    total = np.zeros(image.shape[2])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * image[row, column]
    return total


def loop(images, points, geometry):
    result = np.zeros((*points.shape[:2], SIZE, SIZE, images.shape[-1]))
    for b, p, i, j in np.ndindex(*points.shape[:2], SIZE, SIZE):
        x, y = points[b, p]
        if geometry == "official":
            at = (x + i - SIZE / 2 - 0.5, y + j - SIZE / 2 - 0.5)
        else:
            at = (x + j - SIZE / 2, y + i - SIZE / 2)
        result[b, p, i, j] = bilinear(images[b], *at)
    return result.reshape(*points.shape[:2], -1)


@pytest.fixture
def case():
    rng = generator()
    points = rng.uniform(-2 * SIZE, WIDTH + 2 * SIZE, (2, 40, 2))
    points[0, 0], points[0, 1] = (-1e6, 3), (3, 1e6)  # far away: all zero
    return rng.normal(size=(2, HEIGHT, WIDTH, 3)), points


@pytest.mark.parametrize("geometry", patches.GEOMETRIES)
def test_against_a_loop(case, geometry):
    images, points = case
    found = patches.sample_patches(jnp.asarray(images), jnp.asarray(points), size=SIZE, geometry=geometry)
    np.testing.assert_allclose(found, loop(images, points, geometry), atol=2e-5)
    assert not np.asarray(found[0, :2]).any()


@pytest.mark.parametrize("geometry", patches.GEOMETRIES)
def test_gradients(case, geometry):
    images, points = case
    rng = generator()
    weight = rng.normal(size=(2, 40, SIZE * SIZE * 3))
    step = rng.normal(size=points.shape) * 1e-6

    def total(images, points):
        return (patches.sample_patches(images, points, size=SIZE, geometry=geometry) * weight).sum()

    image_slope, point_slope = jax.grad(total, argnums=(0, 1))(jnp.asarray(images), jnp.asarray(points))
    expected = ((loop(images, points + step, geometry) - loop(images, points - step, geometry)) * weight).sum() / 2
    np.testing.assert_allclose((point_slope * step).sum(), expected, rtol=1e-3, atol=1e-8)
    # Sampling is linear in the images, so that their gradient times them is the sum itself.
    np.testing.assert_allclose((image_slope * images).sum(), total(images, points), rtol=1e-4, atol=1e-3)


def test_upright_geometry_takes_pixels_as_they_are():
    image = jnp.arange(HEIGHT * WIDTH * 1.0).reshape(1, HEIGHT, WIDTH, 1)
    found = patches.sample_patches(image, jnp.array([[[6.0, 5.0]]]), size=SIZE, geometry="upright")
    np.testing.assert_array_equal(found.reshape(SIZE, SIZE), image[0, 3:7, 4:8, 0])


def test_mosaic_puts_a_grid_together_again():
    images = jnp.asarray(generator().normal(size=(2, 12, 12, 3)))
    np.testing.assert_array_equal(patches.mosaic(patches.grid_patches(images, size=SIZE), size=SIZE), images)
    # An official patch is transposed and half a pixel off; on a linear ramp the half pixel is all that differs.
    row, column = np.mgrid[0:12, 0:12].astype(np.float32)
    ramp = (10 * row + column)[None, :, :, None]
    centres = np.stack(np.meshgrid([2.0, 6.0, 10.0], [2.0, 6.0, 10.0]), -1).reshape(1, 9, 2)
    tokens = patches.sample_patches(jnp.asarray(ramp), jnp.asarray(centres), size=SIZE)
    found = patches.mosaic(tokens, size=SIZE, geometry="official")
    np.testing.assert_allclose(found[:, 1:, 1:], ramp[:, 1:, 1:] - 5.5, rtol=1e-5)
