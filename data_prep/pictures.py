"""Changes the bytes of one image where necessary: crop, alignment, resizing."""

import dataclasses
import struct
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import simplejpeg

from facejax.data import face_detection, images
from facejax.data.align import onto_template, warp, warp_smoothly
from facejax.data.face_detection import Face

MAX_BYTES = 256 << 20
JPEG_QUALITY = 95

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UNMOVED = np.eye(2, 3)
_PNG_END = b"IEND\xaeB`\x82"


@dataclasses.dataclass(frozen=True)
class Change:
    """Changes of every image of a conversion.

    Attributes:
      crop: cut to the box of the face, widened on each side by this fraction of its width and height; None: no crop.
      square: cut to a square around the middle of the box, this many times as long as its longer side; beyond the
        image its border is repeated. None: no crop.
      align: map the five points of the face to the recognition template.
      smooth: average the pixels of a face that alignment shrinks. Otherwise pixels are skipped, as in the alignment
        with which recognition is evaluated.
      size: a longer side above this is shrunk to it; with `align`, the side of the result. 0: unchanged; 112 if
        aligned.
      lossless: encode changed images as PNG; otherwise a JPEG becomes a JPEG of quality 95, 4:4:4.
      verify: decode every image, including those copied unchanged.
    """

    crop: float | None = None
    square: float | None = None
    align: bool = False
    smooth: bool = False
    size: int = 0
    lossless: bool = False
    verify: bool = False


def convert(
    image: bytes | np.ndarray, change: Change, *, box=None, points=None, channel_order: str = "rgb"
) -> tuple[bytes, np.ndarray]:
    """The image as stored in records: JPEG or PNG bytes of an upright 8-bit RGB image.

    Such bytes are returned unchanged if they need not be cropped, aligned or shrunk. Everything else is decoded
    (`facejax.data.images.decode`) and encoded again.

    Args:
      image: encoded, or uint8 [H, W] or [H, W, 3].
      change: the changes.
      box: x1, y1, x2, y2 in pixels; for `change.crop`.
      points: [5, 2], x and y in pixels: eyes, nose, corners of the mouth, from the viewer's left to right; for
        `change.align`.
      channel_order: "bgr": red and blue are swapped.

    Returns:
      data: the encoded image.
      matrix: float64 [2, 3]; the content of (x, y) is now at matrix @ (x, y, 1).

    Raises:
      ValueError: not an image, truncated, damaged, too large; or box or points are needed and missing.

    Examples:
      >>> data, matrix = convert(np.zeros((20, 10, 3), np.uint8), Change(size=10))
      >>> images.decode(data).shape, matrix[0, 0]
      ((10, 5, 3), np.float64(0.5))
    """
    if isinstance(image, bytes):
        _check_not_hopeless(image)
        cut = change.crop is not None or change.square is not None or change.align
        untouched = not cut and channel_order == "rgb" and _needs_no_change(image)
        if untouched and change.size:
            height, width = _jpeg_or_png_size(image)
            untouched = max(height, width) <= change.size
        if untouched:
            if change.verify:
                images.decode(image)
            return image, _UNMOVED
    rgb, matrix = _change_geometry(_decode(image, channel_order), change, box, points)
    return _encode(rgb, image, change), matrix


def convert_faces(
    image: bytes | np.ndarray,
    change: Change,
    find: Callable[[np.ndarray], Iterable[Face]],
    *,
    channel_order: str = "rgb",
) -> list[tuple[bytes, np.ndarray]]:
    """`convert`, once for each face that is found in the image.

    Args:
      image: as for `convert`.
      change: the changes, which crop a face.
      find: of uint8 [H, W, 3], RGB, returns the faces.
      channel_order: as for `convert`.

    Returns:
      What `convert` returns, for each face.

    Raises:
      ValueError: as `convert`, or what `find` raises.
    """
    if isinstance(image, bytes):
        _check_not_hopeless(image)
    rgb = _decode(image, channel_order)
    changed = [_change_geometry(rgb, change, face.box, face.points) for face in find(rgb)]
    return [(_encode(face, image, change), matrix) for face, matrix in changed]


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] under a matrix [2, 3]; NaN stays NaN."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def move_box(box, matrix: np.ndarray) -> np.ndarray:
    """The upright box x1, y1, x2, y2 around a box [..., 4] under a matrix."""
    x1, y1, x2, y2 = np.moveaxis(np.asarray(box, np.float64), -1, 0)
    corners = move(np.stack([np.stack(c, -1) for c in ((x1, y1), (x2, y1), (x1, y2), (x2, y2))], -2), matrix)
    return np.concatenate([corners.min(-2), corners.max(-2)], axis=-1)


def _decode(image: bytes | np.ndarray, channel_order: str) -> np.ndarray:
    rgb = images.decode(image) if isinstance(image, bytes) else _as_rgb(image)
    return np.ascontiguousarray(rgb[:, :, ::-1]) if channel_order == "bgr" else rgb


def _encode(rgb: np.ndarray, original: bytes | np.ndarray, change: Change) -> bytes:
    if isinstance(original, bytes) and original[:2] == b"\xff\xd8" and not change.lossless:
        rgb = np.ascontiguousarray(rgb)
        return simplejpeg.encode_jpeg(rgb, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444")
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


def _as_rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
        raise ValueError(f"not an image: an array {image.dtype} {list(image.shape)}")
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _check_not_hopeless(data: bytes) -> None:
    if not data:
        raise ValueError("the file is empty")
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes exceed the limit of {MAX_BYTES} for an image")


def _jpeg_or_png_size(data: bytes) -> tuple[int, int]:
    if data[:2] == b"\xff\xd8":
        return simplejpeg.decode_jpeg_header(data)[:2]
    return struct.unpack_from(">II", data, 16)[::-1]


def _needs_no_change(data: bytes) -> bool:
    """Whether this is a complete, upright 8-bit RGB JPEG or PNG, without decoding it."""
    if data[:2] == b"\xff\xd8":
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        whole, plain = data.rstrip(b"\0\r\n").endswith(b"\xff\xd9"), colorspace in ("YCbCr", "RGB")
        plain = plain and not (data.find(b"Exif\0\0", 0, data.find(b"\xff\xda")) >= 0 and images.orientation(data) != 1)
    elif data[:8] == _PNG_SIGNATURE and len(data) > 33:
        width, height, bits, kind = struct.unpack_from(">IIBB", data, 16)
        whole, plain = data.endswith(_PNG_END), (bits, kind) == (8, 2) and b"eXIf" not in data
        plain = plain and b"tRNS" not in data[: data.find(b"IDAT")]
    else:
        return False
    images.check_size(width, height)
    if plain and not whole:
        images.decode(data)  # raises an error, unless only harmless bytes follow the image
    return plain


def _change_geometry(rgb: np.ndarray, change: Change, box, points) -> tuple[np.ndarray, np.ndarray]:
    if change.align:
        if points is None:
            raise ValueError("has no five points to align it by")
        side = change.size or 112
        matrix = onto_template(points, side)
        return (warp_smoothly if change.smooth else warp)(rgb, matrix, side), matrix
    matrix = _UNMOVED.copy()
    if change.crop is not None or change.square is not None:
        if box is None:
            raise ValueError("has no box of the face to crop it to")
        if change.square is None:
            left, top, right, bottom = _widened(box, change.crop, rgb.shape)
            rgb = rgb[top:bottom, left:right]
        else:
            rgb, (left, top) = face_detection.cut_square(rgb, box, change.square)
        matrix[:, 2] = -left, -top
    height, width = rgb.shape[:2]
    longer = max(height, width)
    if change.size and longer > change.size:
        new = max(1, round(width * change.size / longer)), max(1, round(height * change.size / longer))
        rgb = cv2.resize(rgb, new, interpolation=cv2.INTER_AREA)
        matrix = np.diag([new[0] / width, new[1] / height]) @ matrix
    return rgb, matrix


def _widened(box, margin: float, shape) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (float(value) for value in box)
    wider, higher = margin * (x2 - x1), margin * (y2 - y1)
    height, width = shape[:2]
    edges = np.clip([x1 - wider, y1 - higher, x2 + wider, y2 + higher], 0, [width, height] * 2)
    if not np.isfinite(edges).all() or (edges[2:] - edges[:2] < 1).any():
        raise ValueError(f"its box {[x1, y1, x2, y2]} is outside of its {width} x {height} pixels")
    return *(int(value) for value in np.floor(edges[:2])), *(int(value) for value in np.ceil(edges[2:]))
