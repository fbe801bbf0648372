"""Photos in folders: your own pictures, or any data set that is a directory tree of images.

python -m data_prep.image_folder --source=DIR --out=DIR [--labels=none|class|identity]
    [--align|--crop=FACTOR] [--faces=largest|all]
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item
from facejax.errors import UserError


def read(source: Path, args: argparse.Namespace):
    """All images of the tree; with labels, those of its top-level folders (or of those in its splits)."""
    roots = {"train": ""}
    if args.splits:
        roots = {name: name for name in sources.folder_names(source)}
        if not roots:
            raise UserError(f"--splits: {source} has no folders")
    if args.labels == "none":
        return {}, {split: _unlabelled(source, root) for split, root in roots.items()}
    names = sorted({name for root in roots.values() for name in sources.folder_names(source, root)})
    if not names:
        raise UserError(f"--labels={args.labels}: {source} has no folders, one for each {args.labels}")
    if args.labels == "class":
        features = {"label": tfds.features.ClassLabel(names=[sources.printable(name) for name in names])}
        return features, {split: _classes(source, root, names) for split, root in roots.items()}
    return conversion.PEOPLE, {split: _people(source, root, names) for split, root in roots.items()}


def _unlabelled(source: Path, root: str) -> Iterator[Item]:
    for name in sources.image_names(source, root):
        yield Item(File(name))


def _people(source: Path, root: str, names: Sequence[str]) -> Iterator[Item]:
    numbers = {name: i for i, name in enumerate(names)}
    for name in sources.folder_names(source, root):
        for labels, image in sources.people(source, root, [name], first=numbers[name]):
            yield Item(File(image), labels)


def _classes(source: Path, root: str, names: Sequence[str]) -> Iterator[Item]:
    for item in _people(source, root, names):
        yield Item(item.image, {"label": item.labels["identity"]})


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        choices=("none", "class", "identity"),
        default="none",
        help="meaning of the folders: none; classes (field `label`); people (`identity` and `name`)",
    )
    parser.add_argument("--splits", action="store_true", help="the top-level folders are the splits: train, test, ...")


DATASET = conversion.Dataset(
    name="image_folder",
    read=read,
    layout="images, in folders or not",
    description="Images of a folder.",
    identity="identity",
    finds_faces=True,
    add_arguments=_add_arguments,
)

if __name__ == "__main__":
    conversion.main(DATASET)
