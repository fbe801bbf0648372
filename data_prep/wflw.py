"""WFLW: 7 500 faces to train on and 2 500 to test, with 98 points and six flags for difficulties.

python -m data_prep.wflw --source=DIR --out=DIR

--source holds `WFLW_images` and `WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt` (and
`..._test.txt`), in each line 196 coordinates, x_min y_min x_max y_max, the six flags and the name of the image. The
field `subsets` holds the flags in the owners' order, `SUBSETS`; a test subset contains the faces whose flag is 1.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped

SUBSETS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
_NUM_VALUES = 2 * 98 + 4 + 6
_FIVE_POINTS = [96, 97, 54, 76, 82]  # pupils, tip of the nose, corners of the mouth


def read(source: Path, args: argparse.Namespace):
    """The lines of both lists."""
    folder = "WFLW_annotations/list_98pt_rect_attr_train_test"
    paths = {split: sources.find(source, f"{folder}/list_98pt_rect_attr_{split}.txt") for split in ("train", "test")}
    features = {
        "landmarks": tfds.features.Tensor(shape=(98, 2), dtype=np.float32),
        "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        "subsets": tfds.features.Tensor(shape=(len(SUBSETS),), dtype=np.uint8),
    }
    return features, {split: _items(path) for split, path in paths.items()}


def _items(path: Path) -> Iterator[Item | Skipped]:
    for number, line in enumerate(sources.read_lines(path), 1):
        *words, name = line.strip().split(" ", _NUM_VALUES)
        try:
            values = np.array(words).astype(np.float32)
            if len(values) != _NUM_VALUES or not np.isfinite(values).all():
                raise ValueError(f"{len(values)} numbers and a name, where {_NUM_VALUES} are needed")
        except ValueError as error:
            yield Skipped(f"{path.name}, line {number}", str(error))
            continue
        landmarks, box, flags = values[:196].reshape(98, 2), values[196:200], values[200:]
        if not np.isin(flags, (0, 1)).all():
            yield Skipped(f"{path.name}, line {number}", "a flag is neither 0 nor 1")
            continue
        yield Item(
            File(f"WFLW_images/{name}"),
            {"landmarks": landmarks, "box": box, "subsets": flags.astype(np.uint8)},
            box=box,
            points=landmarks[_FIVE_POINTS],
            key=f"{name} with the box {box.astype(int).tolist()}",  # a picture may have several faces
        )


DATASET = conversion.Dataset(
    name="wflw",
    read=read,
    layout="WFLW_images and WFLW_annotations",
    description=f"Faces with 98 landmarks, a box, and six flags: {', '.join(SUBSETS)}.",
    homepage="https://wywu.github.io/projects/LAB/WFLW.html",
    license="research",
    citation="Wu et al., Look at Boundary, CVPR 2018",
    positions=("landmarks",),
    boxes=("box",),
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
