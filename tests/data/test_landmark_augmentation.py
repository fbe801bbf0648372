"""Faces and their landmarks move together; pixels are disturbed as often and as much as the official code does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.data import landmark_augmentation as augmentation
from facejax.data.landmark_augmentation import Placement
from facejax.data.landmark_targets import NUM_POINTS

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE, SOURCE = 64, 96


def blobs(points, sizes):
    """Images with a Gaussian at each point, in a channel of its own; black beyond their size."""
    pixel = np.arange(SOURCE) + 0.5
    x = np.exp(-((pixel - points[..., :1]) ** 2) / 18)
    y = np.exp(-((pixel - points[..., 1:]) ** 2) / 18)
    images = np.einsum("npy,npx->nyxp", y, x)
    height, width = np.asarray(sizes).T[..., None, None]
    inside = (pixel[:, None] < height) & (pixel < width)
    return (images * inside[..., None]).astype(np.float32)


def centres(images):
    """Means (x, y) of every channel."""
    pixel, total = np.arange(SIZE) + 0.5, images.sum((1, 2))
    x, y = (np.einsum("nsc,s->nc", images.sum(axis), pixel) / total for axis in (1, 2))
    return np.stack([x, y], -1)


@functools.cache
def place(side):
    settings = {"size": SIZE, "side": side, "mirror": (1, 0, 2)}
    return jax.jit(lambda *arguments: augmentation.place(*arguments, **settings))


@pytest.mark.parametrize("side", [0.6, 1.0])
def test_landmarks_stay_where_they_are_in_the_face(side):
    rng = generator()
    sizes = np.array([[96, 96], [96, 80], [70, 96], [96, 96]], np.int32)
    middle = sizes[:, None, ::-1] / 2
    points = (middle + rng.uniform(-9, 9, (4, 3, 2))).astype(np.float32)
    placement = Placement(
        np.array([False, True, True, False]),
        rng.normal(0, 0.03, (4, 2)).astype(np.float32),
        rng.normal(0, 0.3, 4).astype(np.float32),
        rng.uniform(0.8, 1.1, 4).astype(np.float32),
    )
    images, moved = place(side)(blobs(points, sizes), sizes, points, placement)
    found = centres(np.asarray(images))
    order = np.where(placement.mirrored[:, None], [1, 0, 2], [0, 1, 2])  # channels are of the points before
    np.testing.assert_allclose(np.take_along_axis(found, order[..., None], 1), moved, atol=0.3)
    mirrored = np.asarray(moved)[placement.mirrored][:, [1, 0, 2]]
    assert np.abs(mirrored - found[placement.mirrored]).max() < 0.3


def test_without_a_draw_the_square_in_the_middle_is_cut_out():
    sizes, points = np.array([[96, 96]], np.int32), np.array([[[48, 48], [48 - 0.3 * 96, 48], [48, 48 + 0.15 * 96]]])
    still = Placement(np.zeros(1, bool), np.zeros((1, 2)), np.zeros(1), np.ones(1))
    images = np.broadcast_to(np.arange(SOURCE, dtype=np.float32)[:, None, None], (1, SOURCE, SOURCE, 1))
    view, moved = place(0.6)(images, sizes, points.astype(np.float32), still)
    np.testing.assert_allclose(moved[0], [[32, 32], [0, 32], [32, 48]], atol=1e-4)
    rows = 48 + 0.9 * (np.arange(SIZE) + 0.5 - 32) - 0.5  # 57.6 of the 96 pixels become 64
    np.testing.assert_allclose(view[0, :, 5, 0], rows, atol=1e-3)


def test_placements_have_their_spread():
    drawn = augmentation.draw_placement(jax.random.key(0), 4000, flip=0.3, shift=0.05, rotation=18.0, scale=0.1)
    assert abs(drawn.mirrored.mean() - 0.3) < 0.03
    assert abs(drawn.shift.std() - 0.05) < 0.003 and abs(drawn.shift.mean()) < 0.003
    assert abs(np.rad2deg(drawn.angle.std()) - 18) < 1 and abs(drawn.scale.std() - 0.1) < 0.005
    assert abs(drawn.scale.mean() - 1) < 0.01 and abs(np.corrcoef(drawn.angle, drawn.scale)[0, 1]) < 0.1


@pytest.mark.parametrize("name", augmentation.MIRRORED)
def test_mirrored_points_change_places(name):
    order = augmentation.mirror_order(name, NUM_POINTS[name])
    np.testing.assert_array_equal(order[order], np.arange(NUM_POINTS[name]))
    alone = {
        "300w": {8, 27, 28, 29, 30, 33, 51, 57, 62, 66},
        "wflw": {16, 51, 52, 53, 54, 57, 79, 85, 90, 94},
        "cofw": {20, 21, 24, 25, 26, 27, 28},
    }
    assert set(np.flatnonzero(order == np.arange(len(order)))) == alone[name]


NOTHING = dict.fromkeys(("occlusion", "blur", "gamma", "noise", "grey"), 0.0)


@functools.cache
def disturbed(**settings):
    """Many disturbed pictures of one, and the picture."""
    image = generator().uniform(0.2, 0.8, (1, SIZE, SIZE, 3)).astype(np.float32)
    function = jax.jit(lambda key: augmentation.disturb(key, jnp.repeat(image, 200, 0), **(NOTHING | settings)))
    return np.asarray(function(jax.random.key(1))), image


def share(changed):
    return changed.reshape(len(changed), -1).any(1).mean()


def test_a_rectangle_is_black():
    images, image = disturbed(occlusion=0.5)
    black = (images == 0).all(-1)
    assert 0.35 < share(black) < 0.65 and (images == np.where(black[..., None], 0, image)).all()
    heights, widths = (black.any(axis).sum(1) for axis in (2, 1))
    assert heights.max() <= 0.4 * SIZE + 1 and widths.max() <= 0.5 * SIZE + 1
    filled = heights * widths == black.sum((1, 2))
    assert filled.all() and heights.max() > 0.25 * SIZE


def test_gamma_noise_and_grey():
    images, image = disturbed(gamma=1.0)
    powers = np.log(images).mean((1, 2, 3)) / np.log(image).mean()
    assert 0.25 <= powers.min() < 0.4 and 3 < powers.max() <= 4 and 0.35 < (powers < 1).mean() < 0.65
    np.testing.assert_allclose(images, image ** powers[:, None, None, None], atol=0.02)
    images, image = disturbed(noise=1.0)
    weight = 1 - ((images - images.mean()) * (image - image.mean())).mean((1, 2, 3)) / image.var()
    assert weight.min() < 0.1 and 0.4 < weight.max() < 0.6 and images.min() >= 0 and images.max() <= 1
    images, _ = disturbed(grey=1.0)
    assert np.ptp(images, axis=-1).max() < 1e-6


def test_a_blur_averages_a_few_pixels():
    images, image = disturbed(blur=1.0)
    deviations = images.std((1, 2, 3))
    assert deviations.min() < 0.6 * image.std() and (np.abs(images - image).max((1, 2, 3)) < 1e-6).any()  # 1 to 3 taps
