"""CelebA: 202 599 aligned faces, 178 x 218, with 40 attributes, five points and identities; the official split.

python -m data_prep.celeba --source=DIR --out=DIR

--source holds `Img/img_align_celeba/000001.jpg`, ..., `Anno/list_attr_celeba.txt` and
`Anno/list_landmarks_align_celeba.txt` (first line the number of images, second the names of the columns, then a line
for each image; attributes are 1 or -1), `Eval/list_eval_partition.txt` (0 train, 1 validation, 2 test), and
`Anno/identity_CelebA.txt`, which its owners send on request; without it records have no identity. The files may
also be directly in --source.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from facejax.errors import UserError

ATTRIBUTES = tuple(
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young".split()
)
SPLITS = {"train": "0", "validation": "1", "test": "2"}
_POINTS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def read(source: Path, args: argparse.Namespace):
    """The images of each split, in the order of the list."""
    attributes = _table(sources.find(source, "Anno/list_attr_celeba.txt", "list_attr_celeba.txt"), ATTRIBUTES)
    points = _table(
        sources.find(source, "Anno/list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.txt"),
        tuple(_POINTS.split()),
    )
    partition = sources.find(source, "Eval/list_eval_partition.txt", "list_eval_partition.txt")
    features = {
        "attributes": tfds.features.Tensor(shape=(len(ATTRIBUTES),), dtype=np.uint8),
        "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
    }
    identities = None
    if any((source / name).exists() for name in ("Anno/identity_CelebA.txt", "identity_CelebA.txt")):
        path = sources.find(source, "Anno/identity_CelebA.txt", "identity_CelebA.txt")
        identities = dict(_pairs(path))
        features["identity"] = tfds.features.Scalar(np.int64)
    folder = sources.find_folder(source, "Img/img_align_celeba", "img_align_celeba")
    rows = list(_pairs(partition))
    if strange := {part for _, part in rows} - set(SPLITS.values()):
        raise UserError(f"{partition}: '{strange.pop()}' is not a split, which are 0, 1 and 2")
    return features, {
        split: _items(folder, [name for name, part in rows if part == number], attributes, points, identities)
        for split, number in SPLITS.items()
    }


def _items(folder: str, names, attributes, points, identities) -> Iterator[Item | Skipped]:
    for name in names:
        lists = {"attributes": attributes, "landmarks": points} | (
            {} if identities is None else {"identity": identities}
        )
        if lacking := [field for field, values in lists.items() if name not in values]:
            yield Skipped(name, f"is in the list of splits, but not in that of the {lacking[0]}")
            continue
        landmarks = points[name].reshape(5, 2).astype(np.float32)
        labels = {"landmarks": landmarks, "attributes": (attributes[name] > 0).astype(np.uint8)}
        if (abs(attributes[name]) != 1).any():
            yield Skipped(name, "has an attribute that is neither 1 nor -1")
            continue
        if identities is not None:
            if not identities[name].isdecimal():
                yield Skipped(name, f"'{identities[name]}' is not an identity")
                continue
            labels["identity"] = int(identities[name])
        yield Item(File(f"{folder}/{name}"), labels, points=landmarks, key=name)


def _table(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The rows of one of CelebA's lists by the name of the image, int32 [columns]."""
    lines = sources.read_lines(path)
    next(lines, None)  # the number of images
    if tuple(next(lines, "").split()) != columns:
        raise UserError(f"{path}: the second line does not name the {len(columns)} columns, {columns[0]} and so on")
    table = {}
    for line in lines:
        name, *values = line.rsplit(maxsplit=len(columns))
        try:
            table[name.strip()] = np.array(values).astype(np.int32).reshape(len(columns))
        except (ValueError, OverflowError):
            raise UserError(f"{path}: '{line[:40]}...' is not a name and {len(columns)} whole numbers") from None
    return table


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Name and number in each line."""
    for line in sources.read_lines(path):
        name, _, number = line.strip().rpartition(" ")
        if not name:
            raise UserError(f"{path}: '{line[:80]}' is not a name and a number")
        yield name.strip(), number


DATASET = conversion.Dataset(
    name="celeba",
    read=read,
    layout="Img/img_align_celeba, Anno and Eval, as CelebA is unpacked",
    description=f"Aligned faces with five points and 40 attributes, 0 or 1: {', '.join(ATTRIBUTES)}.",
    homepage="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    license="non-commercial research",
    citation="Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015",
    positions=("landmarks",),
    identity="identity",
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
