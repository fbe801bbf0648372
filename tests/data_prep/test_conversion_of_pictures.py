"""What is done to an image: passed through, cropped, aligned, made upright RGB; against OpenCV and Pillow."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from lookalikes import jpeg, pixels, png
from PIL import Image

from data_prep import pictures
from data_prep.pictures import Change
from facejax.data import images
from facejax.data.align import TEMPLATE_112

POINTS = np.array([[30.0, 40.0], [60.0, 35.0], [47.0, 55.0], [38.0, 72.0], [62.0, 68.0]])


JPEG_ERROR = 40  # of 255 at most, of a smooth picture encoded twice; another picture differs by 150 and more


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("data", [jpeg(0), png(pixels(1))], ids=["jpeg", "png"])
def test_what_needs_no_change_is_passed_through(data):
    for change in (Change(), Change(size=20), Change(verify=True)):
        out, matrix = pictures.convert(data, change)
        assert out == data
        np.testing.assert_array_equal(matrix, np.eye(2, 3))


def test_bytes_behind_the_image_do_no_harm():
    data = png(pixels(0)) + b"trailing"
    assert pictures.convert(data, Change())[0] == data
    assert pictures.convert(jpeg(0) + b"\0\0\n", Change())[0] == jpeg(0) + b"\0\0\n"


def exotic():
    rgb = Image.fromarray(pixels(3, 40, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = (pixels(4).astype(np.uint16) << 8) + 77
    grey = np.asarray(rgb.convert("L").convert("RGB"))
    return {
        "CMYK": (saved(rgb.convert("CMYK"), "JPEG", quality=95), np.asarray(rgb), JPEG_ERROR),
        "grey JPEG": (
            saved(rgb.convert("L"), "JPEG", quality=95),
            grey,
            JPEG_ERROR,
        ),
        "grey PNG": (saved(rgb.convert("L"), "PNG"), grey, 0),
        "palette": (saved(rgb.quantize(16), "PNG"), np.asarray(rgb.quantize(16).convert("RGB")), 0),
        "16 bits": (cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes(), pixels(4), 1),
        "alpha": (saved(rgb.convert("RGBA"), "PNG"), np.asarray(rgb), 0),
        "on its side": (saved(rgb, "JPEG", quality=95, exif=exif), np.rot90(np.asarray(rgb), -1), JPEG_ERROR),
        "PNG on its side": (saved(rgb, "PNG", exif=exif), np.rot90(np.asarray(rgb), -1), 0),
        "BMP": (saved(rgb, "BMP"), np.asarray(rgb), 0),
        "WebP": (saved(rgb, "WEBP", lossless=True), np.asarray(rgb), 0),
    }


@pytest.mark.parametrize("name", exotic())
def test_everything_else_becomes_upright_rgb(name):
    data, expected, tolerance = exotic()[name]
    out, _ = pictures.convert(data, Change())
    assert out != data
    with Image.open(io.BytesIO(out)) as image:
        assert (image.mode, image.format) == ("RGB", "JPEG" if data[:2] == b"\xff\xd8" else "PNG")
        assert image.getexif().get(0x0112, 1) == 1
    decoded = images.decode(out)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= tolerance
    assert pictures.convert(out, Change())[0] == out


def test_adobe_cmyk_with_luminance_is_decoded():
    """YCCK, as Photoshop writes it; Pillow writes CMYK only, so the marker that tells them apart is changed here."""
    cmyk = saved(Image.fromarray(pixels(0, 16, 16)).convert("CMYK"), "JPEG", quality=95)
    at = cmyk.index(b"Adobe") + 11
    assert cmyk[at] == 0  # transform: none
    ycck = cmyk[:at] + b"\x02" + cmyk[at + 1 :]  # other colours then, but an image
    assert images.decode(pictures.convert(ycck, Change())[0]).shape == (16, 16, 3)


def bomb_png(side=50_000):
    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def bomb_jpeg():
    data = jpeg(0)
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 60_000, 60_000) + data[at + 4 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (jpeg(0)[:-100], "Premature end"),
        (png(pixels(0))[:-40], "truncated, damaged"),
        (jpeg(0)[:30], "subsampling|not an image"),
        (b"<html>not found</html>", "not an image"),
        (bomb_png(), "2500000000|50000 x 50000"),
        (bomb_jpeg(), "60000 x 60000"),
    ],
    ids=["empty", "cut JPEG", "cut PNG", "cut header", "HTML", "bomb PNG", "bomb JPEG"],
)
@pytest.mark.parametrize("change", [Change(), Change(size=8)], ids=["plain", "resized"])
def test_what_is_no_image_is_refused(data, reason, change):
    with pytest.raises(ValueError, match=reason):
        pictures.convert(data, change)


def test_damage_inside_is_seen_when_asked():
    data = bytearray(jpeg(0, 64, 64))
    at = data.index(b"\xff\xda") + 40
    data[at : at + 2] = b"\xff\xd3"  # a restart where there is none
    assert pictures.convert(bytes(data), Change())[0] == bytes(data)
    with pytest.raises(ValueError):
        pictures.convert(bytes(data), Change(verify=True))


def test_arrays_become_png_and_channels_are_swapped():
    image = pixels(0)
    np.testing.assert_array_equal(images.decode(pictures.convert(image, Change())[0]), image)
    grey = image[:, :, 0]
    np.testing.assert_array_equal(images.decode(pictures.convert(grey, Change())[0]), np.repeat(grey[..., None], 3, 2))
    swapped = pictures.convert(png(image), Change(), channel_order="bgr")[0]
    np.testing.assert_array_equal(images.decode(swapped), image[:, :, ::-1])
    with pytest.raises(ValueError, match="float32"):
        pictures.convert(np.zeros((3, 3), np.float32), Change())


def test_crop_is_the_box_and_its_margin_within_the_image():
    image = pixels(0, 60, 80)
    data, matrix = pictures.convert(png(image), Change(crop=0.25), box=(10.4, 4, 50, 24))
    np.testing.assert_array_equal(images.decode(data), image[0:29, 0:60])
    np.testing.assert_array_equal(pictures.move([[10.4, 4]], matrix), [[10.4, 4]])
    data, matrix = pictures.convert(png(image), Change(crop=0), box=(10.4, 4, 50, 24))
    np.testing.assert_array_equal(images.decode(data), image[4:24, 10:50])
    np.testing.assert_allclose(pictures.move([[10.4, 4], [np.nan] * 2], matrix), [[0.4, 0], [np.nan] * 2])
    for box in ((90, 0, 99, 9), (5, 5, 5, 9), (np.nan, 0, 9, 9)):
        with pytest.raises(ValueError, match="box"):
            pictures.convert(png(image), Change(crop=0.1), box=box)
    with pytest.raises(ValueError, match="no box"):
        pictures.convert(png(image), Change(crop=0.1))


def test_size_shrinks_and_labels_follow():
    image = pixels(0, 60, 80)
    data, matrix = pictures.convert(png(image), Change(crop=0, size=20), box=(0, 20, 40, 60))
    np.testing.assert_array_equal(
        images.decode(data), cv2.resize(image[20:60, :40], (20, 20), interpolation=cv2.INTER_AREA)
    )
    np.testing.assert_allclose(pictures.move([[10, 30]], matrix), [[5, 5]])
    np.testing.assert_allclose(pictures.move_box([[0, 20, 40, 60]], matrix), [[0, 0, 20, 20]])
    assert images.decode(pictures.convert(jpeg(0, 60, 80), Change(size=40))[0]).shape == (30, 40, 3)
    assert pictures.convert(jpeg(0, 60, 80), Change(size=40, lossless=True))[0].startswith(b"\x89PNG")


def test_aligned_faces_have_their_points_on_the_template():
    turn = np.array([[0.9, -0.3], [0.3, 0.9]])
    points = (TEMPLATE_112 - 56) @ turn.T * 0.5 + 50  # the template, turned: the fit is exact
    ys, xs = np.indices((100, 100))
    blobs = sum(np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 2) for x, y in points)
    image = np.repeat((255 * blobs[:, :, None]).astype(np.uint8), 3, axis=2)
    for size in (0, 224):
        data, matrix = pictures.convert(png(image), Change(align=True, size=size), points=points)
        aligned = images.decode(data)[:, :, 0]
        scale = (size or 112) / 112
        assert aligned.shape == (size or 112, size or 112)
        np.testing.assert_allclose(pictures.move(points, matrix), TEMPLATE_112 * scale, atol=1e-6)
        half = round(7 * scale)
        for x, y in TEMPLATE_112 * scale:
            left, top = round(x) - half, round(y) - half
            window = aligned[top : top + 2 * half + 1, left : left + 2 * half + 1].astype(float)
            rows, columns = np.indices(window.shape)
            centre = (window * columns).sum() / window.sum() + left, (window * rows).sum() / window.sum() + top
            np.testing.assert_allclose(centre, (x, y), atol=0.1 * scale)
    with pytest.raises(ValueError, match="no five points"):
        pictures.convert(png(image), Change(align=True))
    with pytest.raises(ValueError, match="missing"):
        pictures.convert(png(image), Change(align=True), points=np.full((5, 2), np.nan))
