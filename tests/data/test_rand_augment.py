"""RandAugment's operations against Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from random_inputs import generator

from facejax.data import rand_augment

SIZE, LEVEL = 24, 0.6
FILL = (128, 128, 128)


def affine(matrix):
    return lambda image, resampling: image.transform(
        image.size, Image.Transform.AFFINE, matrix, resampling, fillcolor=FILL
    )


EXPECTED = {  # at LEVEL, in the positive direction
    "auto_contrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "invert": ImageOps.invert,
    "rotate": lambda image, resampling: image.rotate(30 * LEVEL, resampling, fillcolor=FILL),
    "posterize": lambda image: ImageOps.posterize(image, 4 - int(4 * LEVEL)),
    "color": lambda image: ImageEnhance.Color(image).enhance(1 + 0.9 * LEVEL),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1 + 0.9 * LEVEL),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1 + 0.9 * LEVEL),
    "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * LEVEL),
    "shear_x": affine((1, 0.3 * LEVEL, 0, 0, 1, 0)),
    "shear_y": affine((1, 0, 0, 0.3 * LEVEL, 1, 0)),
    "translate_x": affine((1, 0, 0.45 * LEVEL * SIZE, 0, 1, 0)),
    "translate_y": affine((1, 0, 0, 0, 1, 0.45 * LEVEL * SIZE)),
}
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
APPLY = jax.jit(rand_augment.apply)


@pytest.fixture
def image():
    """A smooth random image: bilinear resampling and rounding then differ by little."""
    coarse = generator().integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def test_every_operation_is_compared():
    assert tuple(EXPECTED) == rand_augment.OPERATIONS


@pytest.mark.parametrize(
    ("name", "bicubic"),
    [*((name, False) for name in rand_augment.OPERATIONS), *((name, True) for name in GEOMETRIC)],
)
def test_against_pillow(image, name, bicubic):
    resampling = (Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR,) * (name in GEOMETRIC)
    which = jnp.array([rand_augment.OPERATIONS.index(name)])
    images = jnp.asarray(image, jnp.float32)[None] / 255
    found = APPLY(images, which, jnp.array([LEVEL]), jnp.ones(1), jnp.array([bicubic]))[0] * 255
    expected = np.asarray(EXPECTED[name](image, *resampling), np.float32)
    difference = np.abs(found - expected).max(-1)
    # Pillow rounds, its contrast starts from a rounded mean, and its affine coordinates are fixed point: at the rim a
    # pixel may fall on the other side.
    assert np.sort(difference.reshape(-1))[-SIZE - 1] < 2.5
    assert difference.mean() < 1


def test_strength_zero_changes_nothing_of_what_has_strength(image):
    images = jnp.broadcast_to(jnp.asarray(image, jnp.float32) / 255, (10, SIZE, SIZE, 3))
    names = [
        name for name in rand_augment.OPERATIONS if name not in ("auto_contrast", "equalize", "invert", "posterize")
    ]
    which = jnp.array([rand_augment.OPERATIONS.index(name) for name in names] + [3])
    np.testing.assert_allclose(
        APPLY(images, which, jnp.zeros(10), jnp.ones(10), jnp.arange(10) % 2 == 0), images, atol=1e-5
    )


def test_directions_differ_and_images_are_independent(image):
    images = jnp.broadcast_to(jnp.asarray(image, jnp.float32) / 255, (2, SIZE, SIZE, 3))
    which, level = jnp.full(2, rand_augment.OPERATIONS.index("rotate")), jnp.full(2, LEVEL)
    left, right = APPLY(images, which, level, jnp.array([1.0, -1.0]), jnp.zeros(2, bool))
    assert np.abs(left - right).max() > 0.05
    found = jax.jit(lambda key: rand_augment.rand_augment(key, images, magnitude=5.0))(jax.random.key(3))
    assert found.shape == images.shape and found.min() >= 0 and found.max() <= 1
    none = rand_augment.rand_augment(jax.random.key(3), images, magnitude=5.0, probability=0.0)
    np.testing.assert_array_equal(none, images)
