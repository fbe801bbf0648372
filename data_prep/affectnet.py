"""AffectNet: faces with 8 (or 7) expressions, valence, arousal and 68 points; splits `train` and `validation`.

python -m data_prep.affectnet --source=DIR --out=DIR --classes=7|8

Two releases are supported, and distinguished by the contents of --source:

- lists and full photographs: `training.csv` and `validation.csv` (also in `Manually_Annotated_file_lists`) with the
  columns subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks (x;y;x;y...), expression,
  valence, arousal; images below `Manually_Annotated_Images` (also in `Manually_Annotated`). Use --crop.
- cropped faces, 224 x 224: `train_set` and `val_set`, each with `images/0.jpg` and
  `annotations/0_exp.npy`, `0_val.npy`, `0_aro.npy`, `0_lnd.npy`.

Images of the categories None, Uncertain and Non-Face, and of Contempt with 7 classes, are skipped.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import point_files

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
_NUM_CATEGORIES = 11  # with None, Uncertain, Non-Face
_COLUMNS = "face_x face_y face_width face_height facial_landmarks expression valence arousal".split()


def read(source: Path, args: argparse.Namespace):
    """The items of both splits, of either release."""
    features = {
        "expression": tfds.features.ClassLabel(names=EXPRESSIONS[: args.classes]),
        "valence": tfds.features.Scalar(np.float32),
        "arousal": tfds.features.Scalar(np.float32),
        "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
    }
    if (source / "train_set").exists():
        folders = {"train": "train_set", "validation": "val_set"}
        return features, {split: _cut_out(source, folder, args.classes) for split, folder in folders.items()}
    lists = "", "Manually_Annotated_file_lists/", "Manually_Annotated/"
    tables = {
        split: sources.find(source, *(f"{folder}{name}.csv" for folder in lists))
        for split, name in {"train": "training", "validation": "validation"}.items()
    }
    root = sources.find_folder(source, "Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
    return features, {split: _photographs(path, root, args.classes) for split, path in tables.items()}


def _photographs(table: Path, root: str, classes: int) -> Iterator[Item | Skipped]:
    for row in sources.read_csv(table, ["subDirectory_filePath", *_COLUMNS]):
        name = f"{root}/{row['subDirectory_filePath']}"
        try:
            x, y, width, height = (float(row[column]) for column in _COLUMNS[:4])
            landmarks = np.array(row["facial_landmarks"].split(";"), np.float32).reshape(68, 2)
            item = _item(name, int(row["expression"]), row["valence"], row["arousal"], landmarks, classes)
        except ValueError as error:
            item = Skipped(name, f"its row in {table.name} is invalid: {error}")
        if isinstance(item, Item):
            item = Item(item.image, item.labels, (x, y, x + width, y + height), item.points, key=name)
        if item:
            yield item


def _cut_out(source: Path, folder: str, classes: int) -> Iterator[Item | Skipped]:
    for name in sources.image_names(source, f"{folder}/images"):
        stem = f"{folder}/annotations/{Path(name).stem}"
        try:
            expression, valence, arousal = (
                _load(source, f"{stem}_{part}.npy").item() for part in ("exp", "val", "aro")
            )
            landmarks = _load(source, f"{stem}_lnd.npy").astype(np.float32).reshape(68, 2)
            item = _item(name, int(expression), valence, arousal, landmarks, classes)
        except (OSError, ValueError, MemoryError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
            item = Skipped(name, f"its annotations {stem}_*.npy: {reason}")
        if item:
            yield item


def _load(source: Path, name: str) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(File(name).read(source)), allow_pickle=False)


def _item(name, expression: int, valence, arousal, landmarks, classes: int) -> Item | None:
    """The item, or None for an excluded category."""
    if classes <= expression < _NUM_CATEGORIES:
        return None
    labels = {
        "expression": expression,
        "valence": np.float32(valence),
        "arousal": np.float32(arousal),
        "landmarks": landmarks,
    }
    return Item(File(name), labels, points=point_files.five_of_68(landmarks))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", type=int, choices=(7, 8), required=True, help="8: with contempt")


DATASET = conversion.Dataset(
    name="affectnet",
    read=read,
    layout="training.csv, validation.csv and Manually_Annotated_Images, or train_set and val_set",
    description="Faces with an expression, valence and arousal (-1 to 1), 68 landmarks.",
    homepage="https://mohammadmahoor.com/pages/databases/affectnet/",
    license="non-commercial research",
    citation="Mollahosseini et al., AffectNet, IEEE Transactions on Affective Computing 2017",
    add_arguments=_add_arguments,
    positions=("landmarks",),
    has_box=True,
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
