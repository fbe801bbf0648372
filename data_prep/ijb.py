"""IJB-B and IJB-C: templates of several images and video frames; 1:1 pairs and 1:N lists.

python -m data_prep.ijb --set=B|C --source=DIR --out=DIR [--align]

--source is the folder `IJBB` or `IJBC` (or their parent) as InsightFace prepares NIST's release, which
published results use: `loose_crop/1.jpg`, ..., and in `meta`

- `ijbc_face_tid_mid.txt`: name of the image, template, medium (frames of one video are one medium);
- `ijbc_name_5pts_score.txt`: name, x and y of five points, score of the detector, in the same order;
- `ijbc_template_pair_label.txt`: two templates, 1 if they show one person;
- `ijbc_1N_gallery_G1.csv`, `ijbc_1N_gallery_G2.csv` (IJB-B: `S1`, `S2`), `ijbc_1N_probe_mixed.csv`: a header, then
  template and subject first in each row.

One split, `test`, with a record for each image in the order of the lists. The 1:N lists are fields of it: `subject`,
and `role` of the image's template. The pairs of templates, 8 and 15.7 million, are next to the records in `pairs.npz`
(`first`, `second` int32, `same` bool; read it with `numpy.load(..., allow_pickle=False)`): as records they would take a
gigabyte, and no protocol needs them one by one. The protocol is `facejax.evaluation.templates`.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from facejax.errors import UserError
from facejax.evaluation import templates

ROLES = ("none", "gallery_1", "gallery_2", "probe")
_GALLERIES = {"B": ("S1", "S2"), "C": ("G1", "G2")}


def read(source: Path, args: argparse.Namespace):
    """The images of the list of media."""
    prefix, meta = _prefix(args), _folder(source, args, "meta")
    roles, subjects = {}, {}
    for role, part in zip(ROLES[1:], (*(f"gallery_{g}" for g in _GALLERIES[args.set]), "probe_mixed"), strict=True):
        for template, subject in _template_list(sources.find(source, f"{meta}/{prefix}_1N_{part}.csv")):
            if roles.setdefault(template, role) != role or subjects.setdefault(template, subject) != subject:
                raise UserError(f"{meta}/{prefix}_1N_{part}.csv: template {template} has two lists or two subjects")
    media = templates.rows(sources.find(source, f"{meta}/{prefix}_face_tid_mid.txt"), 3)
    points = templates.rows(sources.find(source, f"{meta}/{prefix}_name_5pts_score.txt"), 12)
    features = {
        "template": tfds.features.Scalar(np.int64),
        "medium": tfds.features.Scalar(np.int64),
        "subject": tfds.features.Scalar(np.int64),  # -1: not in the 1:N lists
        "role": tfds.features.ClassLabel(names=ROLES),
        "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
        "detector_score": tfds.features.Scalar(np.float32),
    }
    return features, {"test": _items(_folder(source, args, "loose_crop"), media, points, roles, subjects)}


def _items(folder: str, media, points, roles, subjects) -> Iterator[Item | Skipped]:
    for (_, (name, *identifiers)), (_, (other, *values)) in _together(media, points):
        try:
            if other != name:
                raise ValueError(f"is listed where the list of points has {other}")
            template, medium = (int(number) for number in identifiers)
            numbers = np.array(values).astype(np.float32)
            if not np.isfinite(numbers).all():
                raise ValueError("a point or the score is not finite")
        except ValueError as error:
            yield Skipped(f"{folder}/{name}", str(error))
            continue
        landmarks = numbers[:10].reshape(5, 2)
        labels = {
            "template": template,
            "medium": medium,
            "subject": subjects.get(template, -1),
            "role": roles.get(template, "none"),
            "landmarks": landmarks,
            "detector_score": numbers[10],
        }
        yield Item(File(f"{folder}/{name}"), labels, points=landmarks, key=f"{name} of template {template}")


def pairs(source: Path, args: argparse.Namespace) -> dict[str, bytes]:
    """`pairs.npz`, from the list of pairs.

    Raises:
      UserError: the list is missing, or is not two templates and 0 or 1 in each line.
    """
    path = sources.find(source, f"{_folder(source, args, 'meta')}/{_prefix(args)}_template_pair_label.txt")
    file = io.BytesIO()
    np.savez_compressed(file, **templates.read_pairs(path)._asdict())
    return {"pairs.npz": file.getvalue()}


def _prefix(args: argparse.Namespace) -> str:
    return f"ijb{args.set.lower()}"


def _folder(source: Path, args: argparse.Namespace, name: str) -> str:
    return sources.find_folder(source, name, f"IJB{args.set}/{name}")


def _template_list(path: Path) -> Iterator[tuple[int, int]]:
    """Template and subject of each row after the header."""
    lines = sources.read_lines(path)
    next(lines, None)
    for line in lines:
        try:
            template, subject = (int(word) for word in line.split(",")[:2])
        except ValueError:
            raise UserError(f"{path}: '{line[:80]}' does not begin with a template and a subject") from None
        yield template, subject


def _together(media, points):
    try:
        yield from zip(media, points, strict=True)
    except ValueError:
        raise UserError(
            "the list of media and the list of points are not of the same length; take them as shipped"
        ) from None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", choices=("B", "C"), required=True)


DATASET = conversion.Dataset(
    name="ijb",
    read=read,
    layout="loose_crop and meta",
    description="Images and frames of templates, with template, medium, subject, five points, the detector's score.",
    homepage="https://www.nist.gov/programs-projects/face-challenges",
    license="NIST, on application",
    citation="Maze et al., IARPA Janus Benchmark - C, ICB 2018; Whitelam et al., IARPA Janus Benchmark-B, CVPRW 2017",
    add_arguments=_add_arguments,
    positions=("landmarks",),
    has_points=True,
    lists=pairs,
)

if __name__ == "__main__":
    conversion.main(DATASET)
