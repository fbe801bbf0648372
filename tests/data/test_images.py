"""Decoding and fitting against Pillow and NumPy."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps
from random_inputs import generator

from facejax.data import images


def _smooth(height, width, seed=None):
    """A picture without hard edges, so that lossy coding stays close."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _encoded(image, file_format, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_are_exact(file_format):
    image = _smooth(31, 45)
    options = {"lossless": True} if file_format == "WEBP" else {}
    np.testing.assert_array_equal(images.decode(_encoded(image, file_format, **options)), image)


def test_jpeg_equals_pillow():
    data = _encoded(_smooth(50, 37), "JPEG", quality=90)
    decoded = images.decode(data)
    assert decoded.dtype == np.uint8 and decoded.shape == (50, 37, 3)
    assert np.abs(decoded.astype(int) - np.asarray(Image.open(io.BytesIO(data)))).max() <= 2


def test_grey_alpha_palette_and_16_bit_become_rgb():
    image = _smooth(20, 30)
    grey = image[..., 0]
    for file_format in ("PNG", "JPEG"):
        decoded = images.decode(_encoded(grey, file_format, **({"quality": 95} if file_format == "JPEG" else {})))
        assert decoded.shape == (20, 30, 3)
        assert np.abs(decoded.astype(int) - grey[..., None]).max() <= (6 if file_format == "JPEG" else 0)
    rgba = np.dstack([image, np.full((20, 30), 128, np.uint8)])
    np.testing.assert_array_equal(images.decode(_encoded(rgba, "PNG")), image)
    palette = Image.fromarray(image).quantize(16)
    np.testing.assert_array_equal(images.decode(_encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    deep = (grey.astype(np.uint16) << 8) + 77
    np.testing.assert_array_equal(images.decode(_encoded(deep, "PNG")), np.repeat(grey[..., None], 3, 2))


def test_cmyk_jpeg():
    image = _smooth(24, 24)
    data = _encoded(Image.fromarray(image).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(images.decode(data).astype(int) - image).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encoded(_smooth(40, 56), "JPEG", quality=95, exif=exif.tobytes())
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    decoded = images.decode(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= 2


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_exif_orientations_that_do_not_exist_count_as_upright(value):
    image = _smooth(40, 56)
    exif = Image.Exif()
    exif[0x0112] = value
    data = _encoded(image, "JPEG", quality=95, exif=exif.tobytes())
    assert images.orientation(data) == 1
    np.testing.assert_array_equal(images.decode(data), images.decode(_encoded(image, "JPEG", quality=95)))


def test_damaged_exif_counts_as_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(_smooth(40, 56), "JPEG", quality=95, exif=exif.tobytes())
    start = data.index(b"Exif")
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(start + 6, start + 32, 3):
            damaged[place] = rng.integers(256)
        assert images.decode(bytes(damaged)).shape in ((40, 56, 3), (56, 40, 3))


def test_damaged_images_are_refused():
    image = generator().integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for file_format in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP"):
        data = _encoded(image, file_format)
        for cut in (len(data) // 4, len(data) // 2, len(data) - 20):
            with pytest.raises(ValueError):
                images.decode(data[:-cut])
    for data in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"no image at all", bytes(1000)):
        with pytest.raises(ValueError):
            images.decode(data)


def test_decompression_bomb_is_refused_before_it_is_decoded():
    side = 8193
    bomb = _encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="8193 x 8193 pixels"):
        images.decode(bomb)
    jpeg = bytearray(_encoded(_smooth(16, 16), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\x7f\xff\x7f\xff"  # says 32767 x 32767
    with pytest.raises(ValueError, match="32767 x 32767 pixels"):
        images.decode(bytes(jpeg))
    with pytest.raises(ValueError, match="32767 x 32767 pixels"):
        images.decode(bytes(jpeg), at_least=8)


def test_large_jpeg_may_be_decoded_smaller_but_no_smaller_than_asked():
    image = _smooth(400, 300)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95)
    for at_least, expected in ((0, 400), (201, 400), (200, 200), (101, 150), (100, 100)):
        decoded = images.decode(data, at_least=at_least)
        assert decoded.shape == (expected, -(-expected * 3 // 4), 3)
    reduced = images.decode(data, at_least=200).astype(int)
    box = image.reshape(200, 2, 150, 2, 3).mean((1, 3))
    assert np.abs(reduced - box).mean() < 2
    wide = simplejpeg.encode_jpeg(np.ascontiguousarray(_smooth(60, 400)), quality=95)
    assert images.decode(wide, at_least=100).shape == (15, 100, 3)


def test_fit_averages_by_area_and_pads_with_zeros():
    image = generator().integers(1, 256, (60, 90, 3), dtype=np.uint8)
    square, size = images.fit(image, 30)
    assert square.shape == (30, 30, 3) and square.dtype == np.uint8 and size == (20, 30)
    expected = image.reshape(20, 3, 30, 3, 3).mean((1, 3))
    assert np.abs(square[:20] - expected).max() <= 0.51
    assert not square[20:].any()
    tall, size = images.fit(image.transpose(1, 0, 2), 30)
    assert size == (30, 20) and not tall[:, 20:].any()


def test_fit_never_enlarges():
    image = generator().integers(1, 256, (5, 9, 3), dtype=np.uint8)
    square, size = images.fit(image, 16)
    assert size == (5, 9)
    np.testing.assert_array_equal(square[:5, :9], image)
    assert square.sum() == image.sum()
    assert images.fit(image[:1, :1], 16)[1] == (1, 1)
    assert images.fit(np.ones((1, 1000, 3), np.uint8), 16)[1] == (1, 16)


def test_squash_shrinks_by_area_and_enlarges_linearly():
    image = generator().integers(0, 256, (60, 90, 3), dtype=np.uint8)
    expected = image.reshape(30, 2, 30, 3, 3).mean((1, 3))
    assert np.abs(images.squash(image, 30) - expected).max() <= 0.51
    ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 3, 2)  # [1, 8, 3]
    enlarged = images.squash(ramp, 16)
    assert enlarged.shape == (16, 16, 3)
    assert np.abs(enlarged[:, 1:-1, 0] - (np.arange(1, 15) * 5 - 2.5)).max() <= 1
    assert images.squash(np.zeros((10, 40, 3), np.uint8), 20).shape == (20, 20, 3)
    same = generator().integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(images.squash(same, 20), same)
