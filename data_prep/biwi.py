"""BIWI Kinect Head Pose: 24 sequences of 20 people, 15 678 frames with the pose of the head, to test on.

python -m data_prep.biwi --source=DIR --out=DIR --crop=0

--source is the folder `hpdb`, or its parent: `01` to `24`, each with `rgb.cal` and, for every frame,
`frame_00003_rgb.png` and `frame_00003_pose.txt` (a 3 x 3 rotation, then the head's centre in millimetres, in the frame
of the depth camera). One split, `test`. As in Hopenet, pose is computed from the depth camera's rotation. No boxes
are shipped: the box for --crop is a square of 240 mm around the head's centre, projected into the colour image with
`rgb.cal` (camera matrix, distortion, rotation and shift from the depth camera).
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import head_pose
from facejax.errors import UserError

HEAD_MM = 240


def read(source: Path, args: argparse.Namespace):
    """The frames of all sequences."""
    features = {
        "pose": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        "head_box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        "sequence": tfds.features.Scalar(np.int64),
    }
    root = "hpdb/" if (source / "hpdb").is_dir() else ""
    return features, {"test": _items(source, root)}


def _items(source: Path, root: str) -> Iterator[Item | Skipped]:
    for folder in sources.folder_names(source, root.rstrip("/")):
        if not re.fullmatch(r"\d\d", folder):
            continue
        calibration = sources.find(source, f"{root}{folder}/rgb.cal")
        try:
            camera = _numbers(calibration.read_bytes())
        except ValueError as error:
            raise UserError(f"{calibration} does not contain numbers: {error}") from None
        for name in sources.image_names(source, f"{root}{folder}"):
            if not re.search(r"/frame_\d+_rgb\.\w+$", name):
                continue
            pose_name = re.sub(r"_rgb\.\w+$", "_pose.txt", name)
            try:
                pose, box = _head(_numbers(File(pose_name).read(source)), camera)
            except (OSError, ValueError) as error:
                yield Skipped(name, f"{pose_name}: {error.strerror if isinstance(error, OSError) else error}")
                continue
            yield Item(File(name), {"pose": pose, "head_box": box, "sequence": int(folder)}, box=box)


def _head(values: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pose in degrees and the box of the head in the colour image."""
    if len(values) != 12 or len(camera) < 25:
        raise ValueError(f"holds {len(values)} numbers, or rgb.cal {len(camera)}; 9 + 3 and 9 + 4 + 9 + 3 are needed")
    pose = head_pose.from_camera_rotation(values[:9].reshape(3, 3))
    matrix, rotation, shift = camera[:9].reshape(3, 3), camera[13:22].reshape(3, 3), camera[22:25]
    centre = rotation @ values[9:] + shift
    if centre[2] <= 0:
        raise ValueError("the head is behind the camera")
    x, y, z = matrix @ centre
    half = np.array([matrix[0, 0], matrix[1, 1]]) * HEAD_MM / 2 / centre[2]
    return pose, np.float32([x / z - half[0], y / z - half[1], x / z + half[0], y / z + half[1]])


def _numbers(text: bytes) -> np.ndarray:
    return np.array(text.split()).astype(np.float64)


DATASET = conversion.Dataset(
    name="biwi",
    read=read,
    layout="the folder hpdb",
    description="Heads with yaw (nose to the image's right), pitch (nose up) and roll (clockwise) in degrees.",
    homepage="https://icu.ee.ethz.ch/research/datsets.html",
    license="non-commercial research",
    citation="Fanelli et al., Random Forests for Real Time 3D Face Analysis, IJCV 2013",
    boxes=("head_box",),
    has_box=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
