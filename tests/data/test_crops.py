"""Crops against Pillow, a float64 resampler and torchvision's way of drawing boxes, the latter two written out here."""

import math

import jax
import numpy as np
import pytest
from PIL import Image

from facejax.data import crops
from facejax.errors import UserError

crop_and_resize = jax.jit(crops.crop_and_resize, static_argnames=("size", "method"))
random_boxes = jax.jit(crops.random_boxes, static_argnames=("scale", "ratio"))

FILTERS = {
    "bilinear": (Image.Resampling.BILINEAR, 1.0, lambda x: 1 - x),
    "bicubic": (
        Image.Resampling.BICUBIC,
        2.0,
        lambda x: 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2,
    ),
}
BOXES = np.array([[0, 0, 80, 80], [10, 20, 50, 31], [5, 43, 30, 36], [70, 0, 6, 79], [33, 2, 1, 1]])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (len(BOXES), 80, 80, 3), dtype=np.uint8)


def resampled_axis(length, size, method):
    """Weights [size, length], one at a time, in float64."""
    _, support, kernel = FILTERS[method]
    scale = length / size
    stretch = max(scale, 1.0)
    weights = np.zeros((size, length))
    for out in range(size):
        centre = (out + 0.5) * scale
        for pixel in range(length):
            distance = abs(pixel + 0.5 - centre) / stretch
            if distance < support:
                weights[out, pixel] = kernel(distance)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [24, 56])
def test_crop_and_resize_matches_float64(images, method, size):
    ours = np.asarray(crop_and_resize(images, BOXES, size=size, method=method))
    for image, (top, left, height, width), view in zip(images, BOXES, ours, strict=True):
        patch = image[top : top + height, left : left + width] / 255
        expected = np.einsum("xw,hwc->hxc", resampled_axis(width, size, method), patch).clip(0, 1)
        expected = np.einsum("yh,hxc->yxc", resampled_axis(height, size, method), expected).clip(0, 1)
        # A float32 coordinate near 80 is exact to 4e-6 pixels, in each direction.
        np.testing.assert_allclose(view, expected, atol=1e-5)


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [24, 56])
def test_crop_and_resize_matches_pillow(images, method, size):
    # Pillow rounds to eight bits after each direction: half a step of the result, half a step of what is summed
    # (times the sum of the weights' sizes, up to 1.25 for bicubic), and the error of its fixed-point weights.
    tolerance = {"bilinear": 1.01, "bicubic": 1.2}[method] / 255
    pillow_filter = FILTERS[method][0]
    ours = np.asarray(crop_and_resize(images, BOXES, size=size, method=method))
    for image, (top, left, height, width), view in zip(images, BOXES, ours, strict=True):
        patch = Image.fromarray(image).crop((left, top, left + width, top + height))
        # In two calls: Pillow 13 starts with the other direction where the height shrinks much more.
        expected = patch.resize((size, height), pillow_filter).resize((size, size), pillow_filter)
        np.testing.assert_allclose(view, np.asarray(expected) / 255, atol=tolerance)


def test_mirrored_crops_are_flipped(images):
    mirrored = np.array([True, False, True, True, False])
    plain = np.asarray(crop_and_resize(images, BOXES, size=24))
    ours = np.asarray(crop_and_resize(images, BOXES, size=24, mirrored=mirrored))
    expected = np.where(mirrored[:, None, None, None], plain[:, :, ::-1], plain)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_resize_covers_the_valid_extent_and_reads_nothing_else(images):
    sizes = np.array([[80, 80], [80, 41], [17, 80], [33, 33], [1, 2]])
    black, white = images.copy(), images.copy()
    for i, (height, width) in enumerate(sizes):
        black[i, height:] = black[i, :, width:] = 0
        white[i, height:] = white[i, :, width:] = 255
    ours = np.asarray(crops.resize(black, sizes, size=24))
    np.testing.assert_array_equal(ours, crops.resize(white, sizes, size=24))
    for image, (height, width), view in zip(images, sizes, ours, strict=True):
        expected = Image.fromarray(image[:height, :width]).resize((24, 24), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(view, np.asarray(expected) / 255, atol=1.01 / 255)


def test_float_images_are_taken_as_they_are(images):
    ours = crop_and_resize(images.astype(np.float32) / 255, BOXES, size=24)
    np.testing.assert_allclose(ours, crop_and_resize(images, BOXES, size=24), atol=1e-6)


def torchvision_boxes(rng, size, count, scale, ratio):
    """RandomResizedCrop.get_params in NumPy, one image after the other."""
    height, width = size
    boxes = []
    for _ in range(count):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                boxes.append((rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w))
                break
        else:
            w, h = width, height
            if width / height < ratio[0]:
                h = round(width / ratio[0])
            elif width / height > ratio[1]:
                w = round(height * ratio[1])
            boxes.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(boxes)


def largest_distribution_gap(a, b):
    """Kolmogorov-Smirnov statistic."""
    points = np.union1d(a, b)
    return max(
        abs(
            np.searchsorted(np.sort(a), points, "right") / len(a)
            - np.searchsorted(np.sort(b), points, "right") / len(b)
        )
    )


@pytest.mark.parametrize(
    ("size", "scale"),
    [((256, 256), (0.2, 1.0)), ((181, 256), (0.2, 1.0)), ((256, 97), (0.4, 1.0)), ((31, 12), (0.1, 0.9))],
)
def test_boxes_are_distributed_as_torchvisions(size, scale):
    count, ratio = 10_000, (3 / 4, 4 / 3)
    ours = np.asarray(random_boxes(jax.random.key(3), np.tile(size, (count, 1)), scale=scale, ratio=ratio))
    theirs = torchvision_boxes(np.random.default_rng(4), size, count, scale, ratio)
    limit = 1.95 * math.sqrt(2 / count)  # exceeded once in a thousand; a uniform ratio gives more than twice that
    for name, statistic in {
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "height": lambda b: b[:, 2],
        "width": lambda b: b[:, 3],
        "area": lambda b: b[:, 2] * b[:, 3],
        "ratio": lambda b: b[:, 3] / b[:, 2],
        "place down": lambda b: b[:, 0] / np.maximum(size[0] - b[:, 2], 1),
        "place right": lambda b: b[:, 1] / np.maximum(size[1] - b[:, 3], 1),
        "places together": lambda b: b[:, 0] + b[:, 1],
    }.items():
        assert largest_distribution_gap(statistic(ours), statistic(theirs)) < limit, name
    assert (ours[:, :2] >= 0).all() and (ours[:, :2] + ours[:, 2:] <= size).all()


def test_box_that_never_fits_is_central():
    sizes = np.array([[20, 201], [201, 20], [40, 133], [3, 100]])
    ours = random_boxes(jax.random.key(0), sizes, scale=(0.95, 1.0))
    rng = np.random.default_rng(0)
    expected = [torchvision_boxes(rng, size, 1, (0.95, 1.0), (3 / 4, 4 / 3))[0] for size in sizes]
    np.testing.assert_array_equal(ours, expected)


def test_a_box_does_not_depend_on_the_rest_of_the_batch():
    sizes = np.random.default_rng(6).integers(20, 200, (9, 2))
    key = jax.random.key(8)
    others = sizes.copy()
    others[5:] += 31
    np.testing.assert_array_equal(random_boxes(key, sizes)[:5], random_boxes(key, others)[:5])
    np.testing.assert_array_equal(random_boxes(key, sizes)[:5], random_boxes(key, sizes[:5]))


def test_unknown_method_is_named(images):
    with pytest.raises(UserError, match=r"'lanczos'.*bilinear, bicubic"):
        crops.resize(images, BOXES[:, 2:], size=8, method="lanczos")
