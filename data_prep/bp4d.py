"""BP4D: 41 people in 8 tasks, 12 action units in about 146 000 frames; three folds by subject.

python -m data_prep.bp4d --source=DIR --out=DIR [--test_fold=1|2|3]

--source holds the 2D images, `Sequences(2D+3D)/F001/T1/2440.jpg`, ... (the folder may also be called `BP4D-training`,
`Sequences`, or be --source itself; numbers may begin with zeros), and the occurrence codes
`AUCoding/AU_OCC/F001_T1.csv` (also directly in `AUCoding`): a header of 0 and the numbers of the units, then for each
coded frame its number and, for each unit, 1 (present), 0 (absent) or 9 (unknown). Frames in which one of the 12 is
unknown are skipped.

The folds are those of JAA-Net and its successors.
"""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import subject_folds
from facejax.errors import UserError

UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
TASKS = tuple(f"T{number}" for number in range(1, 9))
FOLDS = tuple(
    tuple(fold.split())
    for fold in (
        "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008",
        "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005",
        "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014",
    )
)


def read(source: Path, args: argparse.Namespace):
    """The coded frames of each fold."""
    features = {
        "action_units": tfds.features.Tensor(shape=(len(UNITS),), dtype=np.float32),
        "subject": tfds.features.ClassLabel(names=sorted(subject for fold in FOLDS for subject in fold)),
        "task": tfds.features.ClassLabel(names=TASKS),
    }
    images = ("Sequences(2D+3D)/", "BP4D-training/", "Sequences/")
    images = next((name for name in images if (source / name).is_dir()), "")
    codes = sources.find(source, "AUCoding/AU_OCC", "AUCoding", "AU_OCC")
    return features, subject_folds.splits(FOLDS, args.test_fold, partial(_items, source, images, codes))


def _items(source: Path, images: str, codes: Path, subject: str) -> Iterator[Item | Skipped]:
    for task in TASKS:
        path = codes / f"{subject}_{task}.csv"
        if not path.exists():
            yield Skipped(path.name, "is missing")
            continue
        try:
            names = list(sources.image_names(source, f"{images}{subject}/{task}"))
        except UserError:
            yield Skipped(f"{images}{subject}/{task}", "is missing: there are codes without images")
            continue
        frames = {int(stem): name for name in names if (stem := PurePosixPath(name).stem).isdecimal()}
        for row in sources.read_csv(path, ["0", *map(str, UNITS)]):
            where = f"{path.name}, frame {row['0']}"
            values = [row[str(unit)] for unit in UNITS]
            if not re.fullmatch(r"\d{1,9}", row["0"]) or not set(values) <= {"0", "1"}:
                yield Skipped(where, "a unit is not coded 0 or 1 (9: unknown)")
            elif int(row["0"]) not in frames:
                yield Skipped(where, "has no image")
            else:
                name = frames[int(row["0"])]
                units = np.array(values).astype(np.float32)
                yield Item(File(name), {"action_units": units, "subject": subject, "task": task}, key=name)


DATASET = conversion.Dataset(
    name="bp4d",
    read=read,
    layout="Sequences(2D+3D) and AUCoding",
    description=f"Video frames with the action units {', '.join(map(str, UNITS))}, 0 or 1.",
    homepage="http://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    license="non-commercial research",
    citation="Zhang et al., BP4D-Spontaneous, Image and Vision Computing 2014",
    add_arguments=subject_folds.add_arguments,
)

if __name__ == "__main__":
    conversion.main(DATASET)
