"""RAF-DB, basic expressions: 12 271 faces to train on, 3 068 to test, 7 classes.

python -m data_prep.rafdb --source=DIR --out=DIR [--images=aligned|original]

The layout is that of the owners' README: `EmoLabel/list_patition_label.txt` with a file name and a label of 1 to 7
in each line, `Image/aligned/train_00001_aligned.jpg` (100 x 100) or `Image/original/train_00001.jpg`. For original
images `Annotation/boundingbox` and `Annotation/manual` give boxes and five points, if they exist.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import point_files
from facejax.errors import UserError

EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_LIST = "EmoLabel/list_patition_label.txt"


def read(source: Path, args: argparse.Namespace):
    """The images of the list, split by the first word of their names."""
    path = sources.find(source, _LIST, "EmoLabel/list_partition_label.txt")
    rows = {"train": [], "test": []}
    for line in sources.read_lines(path):
        name, _, label = line.strip().rpartition(" ")
        split = name.partition("_")[0]
        if split not in rows:
            raise UserError(f"{path}: '{line[:80]}' is not a name that begins with train_ or test_ and a label")
        rows[split].append((name.strip(), label))
    features = {"expression": tfds.features.ClassLabel(names=EXPRESSIONS)}
    return features, {split: _items(source, rows[split], args.images) for split in rows}


def _items(source: Path, rows, images: str) -> Iterator[Item | Skipped]:
    for name, label in rows:
        stem = name.removesuffix(".jpg")
        number = int(label) - 1 if label.isdecimal() else label
        if number == -1:  # counted from 0 here and from 1 in the list: report the list's number
            yield Skipped(name, "expression 0 is out of range, 1 to 7")
        elif images == "aligned":
            yield Item(File(f"Image/aligned/{stem}_aligned.jpg"), {"expression": number}, key=name)
        else:
            box = _beside(source, f"Annotation/boundingbox/{stem}_boundingbox.txt", _box)
            yield Item(
                File(f"Image/original/{stem}.jpg"),
                {"expression": number},
                key=name,
                box=box,
                points=_beside(
                    source, f"Annotation/manual/{stem}_manu_attri.txt", lambda data: point_files.read_rows(data, 5)
                ),
            )


def _box(data: bytes) -> np.ndarray:
    return np.array(data.split()).astype(float).reshape(4)


def _beside(source: Path, name: str, parse):
    """The content of a file next to the image; None if it is missing or invalid."""
    try:
        return parse(File(name).read(source))
    except (OSError, ValueError):
        return None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", choices=("aligned", "original"), default="aligned")


DATASET = conversion.Dataset(
    name="rafdb",
    read=read,
    layout="the folder `basic` of RAF-DB, unpacked: EmoLabel/list_patition_label.txt and Image/aligned",
    description="Faces with one of 7 basic expressions.",
    homepage="http://www.whdeng.cn/RAF/model1.html",
    license="non-commercial research",
    citation="Li et al., Reliable Crowdsourcing and Deep Locality-Preserving Learning, CVPR 2017",
    add_arguments=_add_arguments,
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
