"""VoxCeleb1 and 2: faces cropped from interviews, by person, video and frame (https://arxiv.org/abs/1706.08612).

python -m data_prep.voxceleb --source=DIR --out=DIR [--align --size=224]

The records' fields `identity` and `video` are the levels of `facejax.data.hierarchy`.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item
from facejax.errors import UserError

_ROOTS = ("unzippedFaces", "unzippedIntervalFaces/data")
_SCALE = "1.6"  # a folder between person and video in VoxCeleb1's faces: the scale of the crop
_LISTS = ("vox1_meta.csv", "vox2_meta.csv")
_SPLITS = {"dev": "train", "test": "test"}


def read(source: Path, args: argparse.Namespace):
    """The split `train`; with a list of people (vox1_meta.csv, vox2_meta.csv), its test people become split `test`."""
    features = {**conversion.PEOPLE, "video": tfds.features.Text(), "frame": tfds.features.Text()}
    root = next((root for root in _ROOTS if (source / root).is_dir()), "")
    names = sources.folder_names(source, root)
    people = {"train": names}
    lists = [source / name for name in _LISTS if (source / name).exists()]
    if lists:
        split_of = {name: split for path in lists for name, split in _split_of_people(path).items()}
        if unknown := [name for name in names if name not in split_of]:
            raise UserError(f"{lists[0]} does not list the folder {unknown[0]} and {len(unknown) - 1} others")
        people = {split: [name for name in names if split_of[name] == split] for split in _SPLITS.values()}
        people = {split: names for split, names in people.items() if names}
    splits, first = {}, 0
    for split, names in people.items():
        splits[split] = _items(source, root, names, first)
        first += len(names)
    return features, splits


def _split_of_people(path: Path) -> Mapping[str, str]:
    """The split of each person, under any of their names in the list."""
    rows = csv.reader(sources.read_lines(path), delimiter="\t" if path.name == "vox1_meta.csv" else ",")
    rows = [[value.strip() for value in row] for row in rows]
    column = rows[0].index("Set") if rows and "Set" in rows[0] else -1
    if column < 0 or any(len(row) <= column or row[column] not in _SPLITS for row in rows[1:]):
        raise UserError(f"{path} is not as shipped: the last column, Set, must be dev or test")
    return {name: _SPLITS[row[column]] for row in rows[1:] for name in row[:2]}


def _items(source: Path, root: str, names: list[str], first: int) -> Iterator[Item]:
    for labels, image in sources.people(source, root, names, first):
        folders = image.removeprefix(f"{root}/").split("/")[1:]
        if folders[0] == _SCALE:
            folders = folders[1:]
        video = folders[0] if len(folders) > 1 else ""
        yield Item(File(image), labels | {"video": video, "frame": "/".join(folders[1:] or folders)})


DATASET = conversion.Dataset(
    name="voxceleb",
    read=read,
    layout="PERSON/VIDEO/FRAME.jpg (or unzippedFaces/PERSON/1.6/VIDEO/FRAME.jpg), and vox1_meta.csv or vox2_meta.csv",
    description="Faces of speakers in videos, by person, video and frame.",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/",
    license="CC BY 4.0",
    citation="Nagrani et al., VoxCeleb: a large-scale speaker identification dataset, Interspeech 2017",
    identity="identity",
    finds_faces=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
