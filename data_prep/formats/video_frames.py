"""Single frames of a video as the images of a conversion."""

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np

from data_prep import sources


@dataclasses.dataclass(frozen=True, slots=True)
class VideoFrame:
    """Frame `number`, counted from 1, of a video below the source folder."""

    video: str
    number: int

    @property
    def name(self) -> str:
        """The video and the number."""
        return f"{self.video}, frame {self.number}"

    def read(self, source: Path) -> np.ndarray:
        """uint8 [H, W, 3], RGB; the next frame is cheap, one before it means to begin the video again."""
        return _open(sources.inside(source, self.video)).frame(self.number)


class _Video:
    """Reads forward and counts: seeking in compressed videos is inexact."""

    def __init__(self, path: str):
        self.path, self.capture, self.position = path, None, 0

    def frame(self, number: int) -> np.ndarray:
        if self.capture is None or number <= self.position:
            self.capture, self.position = cv2.VideoCapture(self.path, cv2.CAP_FFMPEG), 0
            if not self.capture.isOpened():
                raise ValueError("not a video that can be read, or missing")
        while self.position < number:
            if not self.capture.grab():
                raise ValueError(f"the video ends after frame {self.position}")
            self.position += 1
        decoded, image = self.capture.retrieve()
        if not decoded:
            raise ValueError("the frame cannot be decoded")
        return np.ascontiguousarray(image[:, :, ::-1])


@functools.lru_cache(2)
def _open(path: str) -> _Video:
    return _Video(path)
