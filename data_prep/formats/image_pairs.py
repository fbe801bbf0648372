"""Pairs of faces of the same person or of two people, as records: LFW, CALFW, CPLFW, InsightFace's `.bin` files.

One convention for all: the images 2i and 2i + 1 of a split are pair i, and the field `same` of both is 1 if they show
one person, otherwise 0. Ten-fold protocols use runs of neighbouring pairs as folds, so the order is that of the lists.
`facejax.evaluation.verification.verify_pairs(embeddings, same[0::2])` is the protocol, and so is the probe
`verification` with the label `same`. An image that occurs in several pairs is stored several times: that costs a few
megabytes, and readers need no second list.

If one image of a pair cannot be used, both are skipped.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_prep import conversion, sources
from data_prep.conversion import File, Item, Skipped
from data_prep.formats import point_files
from facejax.data import images
from facejax.data.align import onto_template
from facejax.errors import UserError

FEATURES = {"same": tfds.features.ClassLabel(names=("different", "same"))}
_FOLDS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class _HalfPair:
    """An image that is usable only if the other one of its pair is."""

    name: str
    image: conversion.Image
    other: conversion.Image

    def read(self, source: Path) -> bytes:
        data = self.image.read(source)
        _check(data)
        try:
            _check(self.other.read(source))
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"the other image of its pair, {sources.printable(self.other.name)}: {reason}") from error
        return data


def _check(data: bytes) -> None:
    if not data:
        raise ValueError("the file is empty")
    images.decode(data)


def pair(
    number: int, first: conversion.Image, second: conversion.Image, same, *, points=(None, None), needs_points=False
):
    """The two items of a pair, to yield one after the other; two `Skipped` if points are needed and missing.

    Args:
      number: of the pair.
      first: an image.
      second: the other.
      same: whether they show one person.
      points: the five points [5, 2] of each, or None.
      needs_points: whether images are to be aligned.
    """
    for image, found in zip((first, second), points, strict=True):
        if needs_points and not _can_align(found):
            reason = f"{sources.printable(image.name)} has no five points to align it by"
            return Skipped(first.name, reason), Skipped(second.name, reason)
    labels = {"same": int(same)}
    one, two = (f"{image.name} (pair {number})" for image in (first, second))  # an image may be in several pairs
    return (
        Item(_HalfPair(one, first, second), labels, points=points[0]),
        Item(_HalfPair(two, second, first), labels, points=points[1]),
    )


def _can_align(points: np.ndarray | None) -> bool:
    try:
        return points is not None and bool(np.isfinite(onto_template(points)).all())
    except ValueError:
        return False


def read_lfw_pairs(path: Path) -> Iterator[tuple[str, str, bool]]:
    """The pairs of LFW's `pairs.txt`, in its order: two paths `Name/Name_0001.jpg`, and whether they show one person.

    The first line has the number of folds and of pairs of each kind in a fold (View 1: the latter only); the others are
    `Name 1 4` or `Name 1 Other_Name 2`, with tabs.

    Raises:
      UserError: the file is missing, a line is neither, or their number differs from the first line.
    """
    lines = sources.read_lines(path)
    header = next(lines, "").split()
    if len(header) not in (1, 2) or not all(number.isdecimal() and len(number) < 7 for number in header):
        raise UserError(f"{path}: the first line must be the number of folds and of pairs in each")
    expected = 2 * int(np.prod([int(number) for number in header]))
    count = 0
    for line in lines:
        words = [word.strip() for word in line.split("\t")]
        if len(words) == 1:
            words = line.split()
        numbers = words[1:] if len(words) == 3 else words[1::2]
        if len(words) not in (3, 4) or not all(number.isdecimal() for number in numbers):
            raise UserError(f"{path}: '{line[:80]}' is not a name and two numbers, or two names with a number each")
        count += 1
        names = (words[0], words[0] if len(words) == 3 else words[2])
        one, two = (f"{name}/{name}_{int(number):04d}.jpg" for name, number in zip(names, numbers, strict=True))
        yield one, two, len(words) == 3
    if count != expected:
        raise UserError(f"{path} has {count} pairs, but its first line says {expected}; take it as shipped")


def read_two_line_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """The pairs of `pairs_CALFW.txt` and `pairs_CPLFW.txt`, arranged in folds.

    A pair is two lines, each the name of an image and a number: 0 for different people, otherwise the same. The files
    have all pairs of one person first; here every tenth of both kinds makes a fold, as in the protocol.

    Raises:
      UserError: the file is missing, or a line is something else.
    """
    lines = list(sources.read_lines(path))
    rows = [(name.strip(), number) for name, _, number in (line.strip().rpartition(" ") for line in lines)]
    if len(rows) % 2 or not all(name and number.isdecimal() for name, number in rows):
        raise UserError(f"{path}: every line must be the name of an image and a number, with two lines per pair")
    kinds = {True: [], False: []}
    for line, ((one, number), (two, other)) in enumerate(zip(rows[0::2], rows[1::2], strict=True)):
        if number != other:
            raise UserError(f"{path}, line {2 * line + 1}: the two lines of a pair have different numbers")
        kinds[number != "0"].append((one, two, number != "0"))
    folds = []
    for fold in range(_FOLDS):
        for pairs in kinds.values():
            start, end = (round(len(pairs) * part / _FOLDS) for part in (fold, fold + 1))
            folds += pairs[start:end]
    return folds


def of_files(source: Path, pairs, folder: str, *, points_folders: Sequence[str] = (), needs_points: bool = False):
    """The items of pairs of files in a folder of the source.

    Args:
      source: the source.
      pairs: (name, name, same) of each.
      folder: where the files are, relative to the source.
      points_folders: where `NAME_5loc_attri.txt`, with a line for each of the five points of NAME.jpg, may be.
      needs_points: whether images are to be aligned.
    """
    for number, (one, two, same) in enumerate(pairs):
        found = [_points(source, points_folders, name) if needs_points else None for name in (one, two)]
        files = File(f"{folder}/{one}"), File(f"{folder}/{two}")
        yield from pair(number, *files, same, points=found, needs_points=needs_points)


def _points(source: Path, folders: Sequence[str], name: str) -> np.ndarray | None:
    for folder in folders:
        try:
            return point_files.read_rows(File(f"{folder}/{Path(name).stem}_5loc_attri.txt").read(source), 5)
        except (OSError, ValueError):
            continue
    return None
