"""Images on the host: from encoded bytes to RGB arrays, and from arrays to the squares of a batch."""

import io
import struct

import cv2
import numpy as np
import simplejpeg
from PIL import Image

SUFFIXES = (  # of the names of image files, in lower case
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif",
    ".jp2", ".heic", ".heif",
)  # fmt: skip
MAX_PIXELS = 1 << 26  # 8192 x 8192; anything larger is treated as a decompression bomb

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
_CMYK = ("CMYK", "YCCK")
_HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")}


def decode(data: bytes, at_least: int = 0) -> np.ndarray:
    """Decodes JPEG, PNG and all other formats of OpenCV and Pillow, strictly.

    Grey becomes RGB, an alpha channel is dropped, 16 bits are reduced to 8, CMYK is converted, and the orientation that
    a camera recorded (EXIF) is applied.

    Args:
      data: the encoded image.
      at_least: a JPEG may be decoded at 1/8 to 4/8 of its size, which is faster, as long as its longer side keeps at
        least this many pixels; 0: full size.

    Returns:
      uint8 [height, width, 3], RGB.

    Raises:
      ValueError: not an image, truncated, damaged, or of more than `MAX_PIXELS` pixels.
    """
    if data[:2] == b"\xff\xd8":
        return _decode_jpeg(data, at_least)
    if data[:8] == _PNG_SIGNATURE and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
    else:
        try:
            with Image.open(io.BytesIO(data)) as header:
                width, height = header.size
        except Exception as error:  # for a damaged header Pillow may raise almost anything
            if data[4:12] in _HEIC:
                raise ValueError("HEIC is not read; convert it to JPEG or PNG") from error
            raise ValueError(f"not an image: {len(data)} bytes of no known format, or far too large") from error
    check_size(width, height)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ValueError(f"cannot be decoded: {error.err}") from error
    if image is None:
        raise ValueError("cannot be decoded: truncated, damaged, or in a format that OpenCV does not read here")
    return image


def check_size(width: int, height: int) -> None:
    """Raises a ValueError for more than `MAX_PIXELS` pixels."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS}")


def _decode_jpeg(data: bytes, at_least: int) -> np.ndarray:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    check_size(width, height)
    if colorspace in _CMYK:
        try:
            with Image.open(io.BytesIO(data)) as image:
                rgb = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"cannot be decoded: {error}") from error
    elif at_least and max(height, width) >= 2 * at_least:
        along = "min_height" if height >= width else "min_width"
        rgb = simplejpeg.decode_jpeg(data, **{along: at_least})
    else:
        rgb = simplejpeg.decode_jpeg(data)
    if b"Exif\0\0" in data[: 1 << 16]:
        return _upright(rgb, data)
    return rgb


def orientation(data: bytes) -> int:
    """The orientation that a camera recorded in an encoded image (EXIF): 1 is upright, 2 to 8 must be transformed.

    Any other or unreadable value counts as 1.
    """
    try:
        with Image.open(io.BytesIO(data)) as header:
            noted = header.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # for a damaged header Pillow may raise almost anything
        return 1
    return noted if noted in range(2, 9) else 1


def _upright(image: np.ndarray, data: bytes) -> np.ndarray:
    noted = orientation(data)
    if noted >= 5:
        image = image.transpose(1, 0, 2)
    if noted in (3, 4, 7, 8):
        image = image[::-1]
    if noted in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def fit(image: np.ndarray, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Places an image in the top left corner of a zero square; it is shrunk if it is too large, and never enlarged.

    Args:
      image: uint8 [height, width, 3].
      side: of the square, to which the longer side of the image is limited (area interpolation).

    Returns:
      square: uint8 [side, side, 3].
      size: (height, width) of the image within it.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer > side:
        height, width = max(1, round(height * side / longer)), max(1, round(width * side / longer))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if height == width == side:
        return image, (height, width)
    square = np.zeros((side, side, 3), np.uint8)
    square[:height, :width] = image
    return square, (height, width)


def squash(image: np.ndarray, side: int) -> np.ndarray:
    """Resizes to a square whatever the aspect ratio: uint8 [height, width, 3] to uint8 [side, side, 3].

    Pixels are averaged by area along an axis that shrinks, and interpolated linearly along one that grows.
    """
    height, width = image.shape[:2]
    if height > side or width > side:
        image = cv2.resize(image, (min(width, side), min(height, side)), interpolation=cv2.INTER_AREA)
    if height < side or width < side:
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    return image
