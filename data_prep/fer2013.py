"""FER2013: 35 887 grey faces of 48 x 48 pixels with 7 expressions, from one CSV file.

python -m data_prep.fer2013 --source=DIR --out=DIR

`fer2013.csv` has the columns emotion (0 to 6), pixels (2 304 numbers) and Usage; `icml_face_data.csv` has the same
with spaces in the header. Splits: `train` (Training), `validation` (PublicTest), `test` (PrivateTest).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import Item, Pixels, Skipped
from facejax.errors import UserError

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
SPLITS = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
SIDE = 48


def read(source: Path, args: argparse.Namespace):
    """The rows of each split."""
    features = {"expression": tfds.features.ClassLabel(names=EXPRESSIONS)}
    return features, {split: _items(source, usage) for split, usage in SPLITS.items()}


def _items(source: Path, usage: str) -> Iterator[Item | Skipped]:
    for name, row in rows(source):
        if row["Usage"] == usage:
            label = row["emotion"]
            try:
                image = Pixels(name, pixels(row))
            except ValueError as error:
                yield Skipped(name, str(error))
                continue
            yield Item(image, {"expression": int(label) if label.isdecimal() else label})


def rows(source: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A name for each row, `fer2013-00000.png` for the first, and its columns.

    Raises:
      UserError: the file is missing, or its Usage is none of the three.
    """
    path = sources.find(source, "fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv")
    for number, row in enumerate(sources.read_csv(path, ["emotion", "pixels", "Usage"])):
        if row["Usage"] not in SPLITS.values():
            raise UserError(
                f"{path}, row {number + 2}: the Usage '{row['Usage']}' is none of {', '.join(SPLITS.values())}"
            )
        yield f"fer2013-{number:05d}.png", row


def pixels(row: dict[str, str]) -> np.ndarray:
    """The image of a row, uint8 [48, 48].

    Raises:
      ValueError: not 2 304 numbers of 0 to 255.
    """
    words = row["pixels"].split()
    if len(words) != SIDE * SIDE or not all(word.isdecimal() and len(word) <= 3 for word in words):
        raise ValueError(f"has {len(words)} pixels, or some that are not numbers; {SIDE * SIDE} of 0 to 255 are needed")
    values = np.array(words, np.int64)
    if values.max() > 255:
        raise ValueError(f"has a pixel of {values.max()}, more than 255")
    return values.astype(np.uint8).reshape(SIDE, SIDE)


DATASET = conversion.Dataset(
    name="fer2013",
    read=read,
    layout="fer2013.csv",
    description="Grey faces, 48 x 48, with one of 7 expressions.",
    homepage="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
    license="research",
    citation="Goodfellow et al., Challenges in Representation Learning, ICONIP 2013",
)

if __name__ == "__main__":
    conversion.main(DATASET)
