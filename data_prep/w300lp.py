"""300W-LP: 300W rotated to large poses, and mirrored: 122 450 faces with pose and 68 points, to train on.

python -m data_prep.w300lp --source=DIR --out=DIR

--source holds the folders `AFW`, `HELEN`, `IBUG`, `LFPW` and the same with `_Flip`, each with a `.mat` next to every
`.jpg` (`Pose_Para`: pitch, yaw, roll in radians, ...; `pt2d`: 2 x 68); it may be the folder `300W_LP` or its
parent. One split, `train`. Poses beyond 99 degrees are skipped, as in the protocol.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import head_pose, mat_files, point_files

FOLDERS = tuple(f"{name}{flip}" for name in ("AFW", "HELEN", "IBUG", "LFPW") for flip in ("", "_Flip"))
FEATURES = {
    "pose": tfds.features.Tensor(shape=(3,), dtype=np.float32),
    "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
}
DESCRIPTION = (
    "Faces with yaw (nose to the image's right), pitch (nose up) and roll (clockwise) in degrees, and 68 landmarks; "
    "the box for --crop is the smallest around them."
)


def read(source: Path, args: argparse.Namespace):
    """All images of the eight folders."""
    root = "300W_LP/" if (source / "300W_LP").is_dir() else ""
    return FEATURES, {"train": _items(source, root)}


def _items(source: Path, root: str) -> Iterator[Item | Skipped]:
    for folder in FOLDERS:
        yield from posed_faces(source, root + folder, "pt2d")


def posed_faces(source: Path, folder: str, points: str) -> Iterator[Item | Skipped]:
    """The images of a folder with a `.mat` next to each, of which the array `points` begins with 68 x and 68 y."""
    for name in sources.image_names(source, folder):
        mat_name = str(PurePosixPath(name).with_suffix(".mat"))
        try:
            arrays = mat_files.read(File(mat_name).read(source), ("Pose_Para", points))
            pose = head_pose.from_pose_para(arrays["Pose_Para"])
            if arrays[points].shape not in ((2, 68), (3, 68)):
                raise ValueError(f"{points} has the shape {arrays[points].shape}, not 68 points")
        except (OSError, ValueError) as error:
            yield Skipped(name, f"{mat_name}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        if head_pose.within_protocol(pose):
            landmarks = arrays[points][:2].T.astype(np.float32)
            yield Item(
                File(name),
                {"pose": pose, "landmarks": landmarks},
                box=point_files.box_around(landmarks),
                points=point_files.five_of_68(landmarks),
            )


DATASET = conversion.Dataset(
    name="w300lp",
    read=read,
    layout="the folders AFW, AFW_Flip, HELEN, ... of 300W_LP",
    description=DESCRIPTION,
    homepage="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
    license="non-commercial research",
    citation="Zhu et al., Face Alignment Across Large Poses: A 3D Solution, CVPR 2016",
    positions=("landmarks",),
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
