"""VGGFace2: 3.31 million loosely cropped faces of 9131 people (Cao et al. 2018, https://arxiv.org/abs/1710.08092).

python -m data_prep.vggface2 --source=DIR --out=DIR
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import conversion, sources
from data_prep.conversion import File, Item
from facejax.errors import UserError

SPLITS = ("train", "test")

_BOX = ("X", "Y", "W", "H")
_POINTS = tuple(f"P{i}{axis}" for i in range(1, 6) for axis in "XY")


def read(source: Path, args: argparse.Namespace):
    """Those of the two splits that exist; people are numbered consecutively, those of `train` first."""
    folders = {split: folder for split in SPLITS for folder in (split, f"data/{split}") if (source / folder).is_dir()}
    if not folders:
        raise UserError(f"{source} has neither a folder train nor test: unpack vggface2_train.tar.gz into it")
    splits, first = {}, 0
    for split, folder in folders.items():
        names = sources.folder_names(source, folder)
        splits[split] = _items(source, split, folder, names, first, args)
        first += len(names)
    return conversion.PEOPLE, splits


def _items(source: Path, split: str, folder: str, names: list[str], first: int, args) -> Iterator[Item]:
    boxes = _table(source, f"loose_bb_{split}.csv", _BOX) if args.crop is not None else {}
    points = _table(source, f"loose_landmark_{split}.csv", _POINTS) if args.align else {}
    for labels, image in sources.people(source, folder, names, first):
        name = f"{labels['name']}/{Path(image).stem}"
        box, five = boxes.get(name), points.get(name)
        yield Item(
            File(image),
            labels,
            box=None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3]),
            points=None if five is None else five.reshape(5, 2),
        )


def _table(source: Path, name: str, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The numbers of each image in a list of the folder bb_landmark, `n000001/0001_01`."""
    path = sources.find(source, f"bb_landmark/{name}", f"meta/bb_landmark/{name}", name)
    rows = sources.read_csv(path, ("NAME_ID", *columns))
    try:
        return {row["NAME_ID"]: np.array([row[column] for column in columns], np.float32) for row in rows}
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


DATASET = conversion.Dataset(
    name="vggface2",
    read=read,
    layout="train/n000002/0001_01.jpg, ..., test/..., and for --crop and --align the folder bb_landmark",
    description="Loosely cropped faces from the web, a folder for each person.",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/vgg_face2/",
    license="CC BY-NC 4.0",
    citation="Cao et al., VGGFace2: A dataset for recognising faces across pose and age, FG 2018",
    identity="identity",
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
