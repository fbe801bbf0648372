"""300W: faces with 68 points; 3 148 to train on, 554 common and 135 challenging ones to test.

python -m data_prep.w300 --source=DIR --out=DIR

--source holds the four collections as iBUG ships them: `afw`, `helen/trainset`, `helen/testset`, `lfpw/trainset`,
`lfpw/testset`, `ibug`, each a folder of images with a `.pts` file of the same name next to every one. Split `train` is
afw and both trainsets; split `test` is the full test set of 689, in which the field `subset` distinguishes common (both
testsets) from challenging (ibug).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import point_files

FOLDERS = {
    "train": {"afw": "train", "helen/trainset": "train", "lfpw/trainset": "train"},
    "test": {"helen/testset": "common", "lfpw/testset": "common", "ibug": "challenging"},
}


def read(source: Path, args: argparse.Namespace):
    """Every image with points."""
    features = {
        "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
        "subset": tfds.features.ClassLabel(names=("train", "common", "challenging")),
    }
    return features, {split: _items(source, folders) for split, folders in FOLDERS.items()}


def _items(source: Path, folders: dict[str, str]) -> Iterator[Item | Skipped]:
    for folder, subset in folders.items():
        for name in sources.image_names(source, folder):
            if PurePosixPath(name).stem.endswith("_mirror"):  # added by others to some copies
                continue
            points_name = str(PurePosixPath(name).with_suffix(".pts"))
            try:
                landmarks = point_files.read_pts(File(points_name).read(source))
            except (OSError, ValueError) as error:
                yield Skipped(name, f"{points_name}: {error.strerror if isinstance(error, OSError) else error}")
                continue
            yield Item(
                File(name),
                {"landmarks": landmarks, "subset": subset},
                box=point_files.box_around(landmarks),
                points=point_files.five_of_68(landmarks),
            )


DATASET = conversion.Dataset(
    name="w300",
    read=read,
    layout="the folders afw, helen, ibug and lfpw",
    description=(
        "Faces with 68 landmarks in iBUG's order, x and y in pixels, (0, 0) the centre of the top left pixel; "
        "the box for --crop is the smallest around them."
    ),
    homepage="https://ibug.doc.ic.ac.uk/resources/300-W/",
    license="non-commercial research",
    citation="Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV Workshops 2013",
    positions=("landmarks",),
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
