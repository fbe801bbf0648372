"""Photographs in folders: one's own pictures, or any data set that is a tree of images.

python -m data_prep.image_folder --source=DIR --out=DIR [--labels=none|class|identity]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item
from facejax.errors import UserError


def read(source: Path, args: argparse.Namespace):
    """All images of the tree; with labels, those of the folders right in it (or in those of its splits)."""
    roots = {"train": ""}
    if args.splits:
        roots = {name: name for name in sources.folder_names(source)}
        if not roots:
            raise UserError(f"--splits: {source} has no folders")
    if args.labels == "none":
        return {}, {split: map(_item, sources.image_names(source, root)) for split, root in roots.items()}
    names = sorted({name for root in roots.values() for name in sources.folder_names(source, root)})
    if not names:
        raise UserError(f"--labels={args.labels}: {source} has no folders, one for each {args.labels}")
    if args.labels == "class":
        features = {"label": tfds.features.ClassLabel(names=[sources.printable(name) for name in names])}
    else:
        features = {"label": tfds.features.Scalar(np.int64), "name": tfds.features.Text()}
    return features, {split: _labelled(source, root, names, args.labels) for split, root in roots.items()}


def _item(name: str) -> Item:
    return Item(File(name))


def _labelled(source: Path, root: str, names: list[str], labels: str) -> Iterator[Item]:
    numbers = {name: i for i, name in enumerate(names)}
    for folder in sources.folder_names(source, root):
        fields = {"label": numbers[folder]} | ({"name": folder} if labels == "identity" else {})
        for name in sources.image_names(source, f"{root}/{folder}" if root else folder):
            yield Item(File(name), fields)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        choices=("none", "class", "identity"),
        default="none",
        help="what the folders stand for: nothing; classes, named in the records; people, numbered",
    )
    parser.add_argument("--splits", action="store_true", help="the outermost folders are the splits: train, test, ...")


DATASET = conversion.Dataset(
    name="image_folder",
    read=read,
    layout="images, in folders or not",
    description="Images of a folder.",
    identity="label",
    add_arguments=_add_arguments,
)

if __name__ == "__main__":
    conversion.main(DATASET)
