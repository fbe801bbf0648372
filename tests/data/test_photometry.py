"""Each operation against Pillow, colorsys or SciPy in float64."""

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from random_inputs import generator
from scipy import ndimage

from facejax.data import photometry
from facejax.errors import UserError

ADJUSTMENTS = {
    name: jax.jit(getattr(photometry, f"adjust_{name}")) for name in ("brightness", "contrast", "saturation", "hue")
}
gaussian_blur = jax.jit(photometry.gaussian_blur, static_argnames=("taps", "padding"))


@pytest.fixture(scope="module")
def pictures():
    """Noise, and smooth colours, as uint8 [2, 40, 48, 3]."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    y, x = np.mgrid[:40, :48]
    smooth = np.stack([np.sin(x / 9 + y / 13), np.cos(x / 7 - y / 17), np.sin(y / 6)], axis=-1) * 120 + 127
    return np.stack([noise, smooth.astype(np.uint8)])


@pytest.fixture(scope="module")
def images(pictures):
    return pictures.astype(np.float32) / 255


def per_picture(pictures, function):
    return np.stack([np.asarray(function(Image.fromarray(picture))) for picture in pictures]) / 255


@pytest.mark.parametrize("factors", [(0.3, 1.4), (1.9, 0.0)])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_adjustments_match_pillow(pictures, images, name, enhance, factors):
    # Pillow cuts the result down to eight bits (1) and rounds the luma, times |1 - factor| (at most 0.5).
    ours = np.asarray(ADJUSTMENTS[name](images, np.array(factors)))
    for picture, factor, view in zip(pictures, factors, ours, strict=True):
        expected = np.asarray(enhance(Image.fromarray(picture)).enhance(factor)) / 255
        np.testing.assert_allclose(view, expected, atol=1.51 / 255)


def test_a_factor_of_one_changes_nothing(images):
    for name, neutral in {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}.items():
        np.testing.assert_allclose(ADJUSTMENTS[name](images, np.full(2, neutral)), images, atol=1e-6)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.03, 0.42])
def test_hue_matches_colorsys(images, shift):
    def turned(rgb):
        hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)

    colours = np.concatenate([images[0, :8].reshape(-1, 3), list(itertools.product((0.0, 0.5, 1.0), repeat=3))])
    expected = [turned(rgb) for rgb in colours.astype(float)]
    ours = ADJUSTMENTS["hue"](colours.reshape(1, 1, -1, 3).astype(np.float32), shift)
    np.testing.assert_allclose(ours[0, 0], expected, atol=3e-6)


def test_hue_matches_pillow(pictures, images):
    # Pillow's hue has 8 bits, of which one step moves a channel by up to 6/255, and wraps at 256 on a scale of 255.
    steps = np.array([-25, 18])
    ours = np.asarray(ADJUSTMENTS["hue"](images, steps / 255))

    def turn(picture, step):
        hue, saturation, value = Image.fromarray(picture).convert("HSV").split()
        hue = Image.fromarray(np.asarray(hue) + np.array(step).astype(np.uint8))
        return np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB")) / 255

    expected = np.stack([turn(picture, step) for picture, step in zip(pictures, steps, strict=True)])
    error = np.abs(ours - expected)
    assert error.mean() < 1 / 255 and np.percentile(error, 99) < 6 / 255


def test_grey_matches_pillow(pictures, images):
    expected = per_picture(pictures, lambda picture: picture.convert("L").convert("RGB"))
    np.testing.assert_allclose(photometry.grey(images), expected, atol=0.51 / 255)


def test_solarize_matches_pillow(pictures, images):
    expected = per_picture(pictures, lambda picture: ImageOps.solarize(picture, 128))
    np.testing.assert_allclose(photometry.solarize(images), expected, atol=1e-6)


@pytest.mark.parametrize(("padding", "scipy_mode"), [("edge", "nearest"), ("reflect", "mirror")])
@pytest.mark.parametrize("taps", [7, 13])
def test_blur_matches_scipy(images, padding, scipy_mode, taps):
    sigma = np.array([0.35, 1.9], np.float32)
    ours = np.asarray(gaussian_blur(images, sigma, taps=taps, padding=padding))
    for image, width, view in zip(images.astype(float), sigma, ours, strict=True):
        expected = ndimage.gaussian_filter(image, float(width), mode=scipy_mode, radius=taps // 2, axes=(0, 1))
        np.testing.assert_allclose(view, expected, atol=2e-6)


def test_blur_is_close_to_pillows(pictures, images):
    # Pillow runs three box filters and repeats the border anew for each: on the smooth picture that is 1/255 at most
    # inside, and a few at the border; on noise, where the two kernels differ most, a mean of 1.5/255.
    for sigma in (0.5, 1.0, 2.0):
        expected = per_picture(pictures, lambda picture, s=sigma: picture.filter(ImageFilter.GaussianBlur(s)))
        error = np.abs(np.asarray(gaussian_blur(images, np.full(2, sigma), taps=13)) - expected) * 255
        noise, smooth = error[:, 6:-6, 6:-6]
        assert noise.mean() < 1.5 and smooth.max() < 3, (sigma, noise.mean(), smooth.max())


def test_blur_of_width_zero_changes_nothing(images):
    ours = gaussian_blur(images, np.array([0.0, 1.0]), taps=13)
    np.testing.assert_array_equal(ours[0], images[0])


def test_gradient_magnitude_matches_scipy(images):
    ours = np.asarray(photometry.gradient_magnitude(images))
    for image, view in zip(images.astype(float), ours, strict=True):
        luma = (65.738 * image[..., 0] + 129.057 * image[..., 1] + 25.064 * image[..., 2]) / 256
        dy, dx = (ndimage.correlate1d(luma, [-1.0, 0.0, 1.0], axis=axis, mode="constant") for axis in (0, 1))
        expected = np.sqrt(dx**2 + dy**2 + 1e-6)
        np.testing.assert_allclose(view, np.repeat(expected[..., None], 3, axis=-1), atol=2e-6)


def test_normalize(images):
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
    np.testing.assert_allclose(photometry.normalize(images, mean, std), (images - mean) / std, atol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_jitter_keeps_to_its_order(images, order):
    amounts = np.array([[1.3, 0.7], [0.6, 1.4], [1.2, 0.8], [0.1, -0.07]], np.float32)
    expected = images
    for which in order:
        expected = list(ADJUSTMENTS.values())[which](expected, amounts[which])
    np.testing.assert_allclose(photometry.color_jitter(images, amounts, np.array(order)), expected, atol=1e-5)


def test_jitter_is_drawn_from_torchvisions_ranges():
    strengths = (0.4, 1.5, 0.2, 0.1)
    ranges = np.array([(0.6, 1.4), (0.0, 2.5), (0.8, 1.2), (-0.1, 0.1)])
    keys = jax.random.split(jax.random.key(2), 2400)
    amounts, orders = jax.jit(jax.vmap(lambda key: photometry.draw_jitter(key, 4, strengths)))(keys)
    shares = (np.asarray(amounts) - ranges[:, :1]) / (ranges[:, 1:] - ranges[:, :1])
    assert shares.min() > -1e-6 and shares.max() < 1 + 1e-6
    for share in shares.transpose(1, 0, 2).reshape(4, -1):  # uniform: Kolmogorov-Smirnov, once in a thousand
        gap = np.abs(np.sort(share) - np.arange(share.size) / share.size).max()
        assert gap < 1.95 / np.sqrt(share.size)
    # The 24 orders: chi-square with 23 degrees of freedom exceeds 49.7 once in a thousand.
    _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert len(counts) == 24 and ((counts - 100) ** 2 / 100).sum() < 49.7
    # Images of a batch are drawn apart from one another.
    assert np.abs(np.corrcoef(np.asarray(amounts)[:, 0].T) - np.eye(4)).max() < 0.08


def test_even_number_of_taps_is_an_error(images):
    with pytest.raises(UserError, match="8 taps"):
        photometry.gaussian_blur(images, 1.0, taps=8)


def test_jitter_compiled_into_one_is_the_same():
    """The compiler may then compute an image twice, rounded differently: hue must not depend on equal channels."""
    images = jnp.asarray(generator().random((32, 48, 48, 3)), jnp.float32)
    amounts, order = photometry.draw_jitter(jax.random.key(1), len(images), (0.4, 0.4, 0.2, 0.1))

    @jax.jit
    def choose(images, orders):
        for step in range(4):
            which = orders[:, step]
            amount = jnp.take_along_axis(amounts.T, which[:, None], 1)[:, 0]
            changed = [adjust(images, amount) for adjust in photometry._ADJUSTMENTS]
            images = changed[0]
            for index in (1, 2, 3):
                images = jnp.where((which == index)[:, None, None, None], changed[index], images)
        return images

    orders = jnp.broadcast_to(order, (len(images), 4))
    np.testing.assert_allclose(choose(images, orders), photometry.color_jitter(images, amounts, order), atol=1e-4)
