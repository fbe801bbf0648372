"""FER+: the images of FER2013 with the votes of ten people on 8 expressions.

python -m data_prep.ferplus --source=DIR --out=DIR

--source holds `fer2013.csv` and `fer2013new.csv` (columns Usage, Image name, neutral, happiness, surprise, sadness,
anger, disgust, fear, contempt, unknown, NF), whose rows correspond. The label is the majority's, as in Microsoft's
`ferplus.py`: single votes are ignored, and the class must have more than half of the others. Images without such a
class, or whose class is "unknown" or "no face", are skipped, and their number is printed.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, fer2013, sources
from data_prep.conversion import Item, Pixels, Skipped
from facejax.errors import UserError

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
_VOTES = (*EXPRESSIONS, "unknown", "NF")


def read(source: Path, args: argparse.Namespace):
    """The rows of each split that have a majority."""
    features = {
        "expression": tfds.features.ClassLabel(names=EXPRESSIONS),
        "votes": tfds.features.Tensor(shape=(len(_VOTES),), dtype=np.int64),
    }
    return features, {split: _items(source, split, usage) for split, usage in fer2013.SPLITS.items()}


def majority(votes: np.ndarray) -> int | None:
    """The class, of `EXPRESSIONS`, that ten votes [10] agree on; None without a majority for an expression."""
    votes = np.where(votes <= 1, 0, votes)
    best = int(votes.argmax())
    return best if votes[best] > votes.sum() / 2 and best < len(EXPRESSIONS) else None


def _items(source: Path, split: str, usage: str) -> Iterator[Item | Skipped]:
    path = sources.find(source, "fer2013new.csv", "FERPlus/fer2013new.csv")
    table = sources.read_csv(path, ["Usage", "Image name", *_VOTES])
    left_out = 0
    for name, row in fer2013.rows(source):
        new = next(table, None)
        if new is None or new["Usage"] != row["Usage"]:
            raise UserError(f"{path} does not fit fer2013.csv, row for row, at {name}; take both as shipped")
        if row["Usage"] != usage:
            continue
        try:
            votes = np.array([int(new[column]) for column in _VOTES])
            label = majority(votes)
            if label is None or not new["Image name"]:
                left_out += 1
                continue
            yield Item(Pixels(new["Image name"], fer2013.pixels(row)), {"expression": label, "votes": votes})
        except ValueError as error:
            yield Skipped(new["Image name"] or name, str(error))
    if next(table, None) is not None:
        raise UserError(f"{path} has more rows than fer2013.csv; take both as shipped")
    print(f"{split}: {left_out} images without a majority for an expression were skipped", file=sys.stderr)


DATASET = conversion.Dataset(
    name="ferplus",
    read=read,
    layout="fer2013.csv and fer2013new.csv",
    description="Grey faces, 48 x 48, with one of 8 expressions and the ten votes (8 expressions, unknown, no face).",
    homepage="https://github.com/microsoft/FERPlus",
    license="labels MIT, images research",
    citation="Barsoum et al., Training Deep Networks for Facial Expression Recognition, ICMI 2016",
)

if __name__ == "__main__":
    conversion.main(DATASET)
