"""DISFA: videos of 27 people, intensities 0 to 5 of 8 (or 12) action units in every frame; three folds by subject.

python -m data_prep.disfa --source=DIR --out=DIR --crop=0.2 --size=256 [--camera=left|right] [--units=8|12]
    [--test_fold=1|2|3]

--source holds the videos, `Video_LeftCamera/LeftVideoSN001_comp.avi`, `Video_RightCamera/RightVideoSN001_comp.avi`, ...
(the folders are also shipped as `Videos_...`, the files as `..._Comp.avi`), the labels,
`ActionUnit_Labels/SN001/SN001_au1.txt`, ..., with a frame counted from 1 and its intensity in each line, and, for
--crop and --align, `Landmark_Points/SN001/tmp_frame_lm/SN001_0000_lm.mat` (of frame 1; for some people
`l00001_lm.mat`) with 66 points. Frames are stored as PNG: about 130 GB without --crop and --size.

The folds are those of JAA-Net and its successors, each 9 people. A unit counts as present from intensity 2.
"""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import mat_files, point_files, subject_folds
from data_prep.formats.video_frames import VideoFrame
from facejax.errors import UserError

UNITS = {8: (1, 2, 4, 6, 9, 12, 25, 26), 12: (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)}
FOLDS = tuple(
    tuple(f"SN{number:03d}" for number in fold)
    for fold in (
        (2, 10, 1, 26, 27, 32, 30, 9, 16),
        (13, 18, 11, 28, 12, 6, 31, 21, 24),
        (3, 29, 23, 25, 8, 5, 7, 17, 4),
    )
)


def read(source: Path, args: argparse.Namespace):
    """The labelled frames of each fold."""
    features = {
        "action_units": tfds.features.Tensor(shape=(args.units,), dtype=np.float32),
        "subject": tfds.features.ClassLabel(names=sorted(subject for fold in FOLDS for subject in fold)),
    }
    side = args.camera.capitalize()
    folder = sources.find_folder(source, f"Video_{side}Camera", f"Videos_{side}Camera")
    sources.find_folder(source, "ActionUnit_Labels")
    videos = {}
    for path in (source / folder).iterdir():
        if match := re.fullmatch(rf"{side}Video(SN\d\d\d)_comp\.avi", path.name, re.IGNORECASE):
            videos[match[1].upper()] = f"{folder}/{path.name}"
    needs_points = args.crop is not None or args.align
    items = partial(_items, source, videos, UNITS[args.units], needs_points)
    return features, subject_folds.splits(FOLDS, args.test_fold, items)


def _items(source: Path, videos: dict[str, str], units, needs_points: bool, subject: str) -> Iterator[Item | Skipped]:
    if subject not in videos:
        yield Skipped(subject, "has no video of this camera")
        return
    names = [f"ActionUnit_Labels/{subject}/{subject}_au{unit}.txt" for unit in units]
    if missing := [name for name in names if not (source / name).exists()]:
        yield Skipped(missing[0], "is missing: the video has no labels")
        return
    tables = [_table(sources.find(source, name)) for name in names]
    for frame in tables[0]:
        image = VideoFrame(videos[subject], frame)
        if lacking := [name for name, table in zip(names, tables, strict=True) if frame not in table]:
            yield Skipped(image.name, f"{lacking[0]} lacks it")
            continue
        intensities = np.array([table[frame] for table in tables], np.float32)
        if not ((intensities >= 0) & (intensities <= 5)).all():
            yield Skipped(image.name, f"an intensity of {intensities.max():g} is out of range, 0 to 5")
            continue
        points = _points(source, subject, frame) if needs_points else None
        yield Item(
            image,
            {"action_units": intensities, "subject": subject},
            box=None if points is None else point_files.box_around(points),
            points=None if points is None else point_files.five_of_68(points),  # the 66 lack two of the inner mouth
        )


def _table(path: Path) -> dict[int, int]:
    """Intensity by frame."""
    table = {}
    for line in sources.read_lines(path):
        if not (match := re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*", line)):
            raise UserError(f"{path}: '{line[:40]}' is not a frame and an intensity")
        table[int(match[1])] = int(match[2])
    return table


def _points(source: Path, subject: str, frame: int) -> np.ndarray | None:
    """The 66 points of a frame, or None."""
    for name in (f"{subject}_{frame - 1:04d}_lm.mat", f"l0{frame:04d}_lm.mat"):
        try:
            data = File(f"Landmark_Points/{subject}/tmp_frame_lm/{name}").read(source)
            points = mat_files.read(data, ("pts",))["pts"]
        except (OSError, ValueError):
            continue
        if points.shape == (66, 2):
            return points
    return None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--camera", choices=("left", "right"), default="left")
    parser.add_argument("--units", type=int, choices=(8, 12), default=8, help="8: those of the protocol")
    subject_folds.add_arguments(parser)


DATASET = conversion.Dataset(
    name="disfa",
    read=read,
    layout="Video_LeftCamera or Video_RightCamera, ActionUnit_Labels and Landmark_Points",
    description="Video frames with the intensities, 0 to 5, of action units 1, 2, 4, 6, 9, 12, 25, 26 (or of all 12).",
    homepage="http://mohammadmahoor.com/disfa/",
    license="non-commercial research",
    citation="Mavadati et al., DISFA, IEEE Transactions on Affective Computing 2013",
    add_arguments=_add_arguments,
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
