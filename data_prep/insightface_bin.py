"""InsightFace's verification sets: LFW, CFP-FP, AgeDB-30, CALFW, CPLFW, ... as `.bin` files of aligned faces.

python -m data_prep.insightface_bin --source=DIR --out=DIR [--split=lfw]

Every `NAME.bin` of --source becomes a split `NAME` (`lfw`, `cfp_fp`, `agedb_30`, ...). Such a file is a pickle of a
list of encoded images, 112 x 112, and a list with one entry for each two of them, whether they show one person. It is
read without executing anything (`data_prep.formats.restricted_pickle`). `data_prep.formats.image_pairs`
describes how pairs are stored.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import conversion, sources
from data_prep.conversion import Encoded, Item, Skipped
from data_prep.formats import image_pairs, restricted_pickle
from facejax.errors import UserError

_MAX_BYTES = 4 << 30  # limit of a file; the largest known one has 0.3 GB


def read(source: Path, args: argparse.Namespace):
    """The pairs of every file."""
    splits = {}
    for path in sorted(source.glob("*.bin")):
        name = re.sub(r"\W", "_", path.stem.lower())
        if name in splits:
            raise UserError(f"{path} would become the split '{name}', like another file; rename one of them")
        splits[name] = _items(source, path)
    if not splits:
        raise UserError(f"{source} has no .bin file; see --help for what --source holds")
    return image_pairs.FEATURES, splits


def _items(source: Path, path: Path) -> Iterator[Item | Skipped]:
    faces, same = read_bin(sources.find(source, path.name))
    for i, is_same in enumerate(same):
        images = (Encoded(f"{path.name}, image {n}", faces[n]) for n in (2 * i, 2 * i + 1))
        yield from image_pairs.pair(i, *images, is_same)


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """The encoded images of a `.bin` file, and whether the images 2i and 2i + 1 show one person.

    Raises:
      UserError: the file is too large, is not such a pickle, or would execute something.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size} bytes, far more than a verification set")
    try:
        content = restricted_pickle.loads(path.read_bytes())
        if not isinstance(content, (tuple, list)) or len(content) != 2:
            raise ValueError("it does not hold two lists")
        faces, same = content
        if isinstance(same, restricted_pickle.Array):
            same = same.value.tolist()
        if not isinstance(faces, list) or not isinstance(same, list) or len(faces) != 2 * len(same):
            raise ValueError("it does not hold a list of images and a list that is half as long")
        if not all(type(value) in (bool, int) and value in (0, 1) for value in same):
            raise ValueError("the entry of a pair is neither true nor false")
        return [_bytes(face) for face in faces], [bool(value) for value in same]
    except ValueError as error:
        raise UserError(f"{path} is not a verification set of InsightFace: {error}") from error


def _bytes(face) -> bytes:
    if isinstance(face, restricted_pickle.Array) and face.value is not None and face.value.dtype == np.uint8:
        return face.value.tobytes()
    if not isinstance(face, (bytes, bytearray)):
        raise ValueError("one of the images is not bytes")
    return bytes(face)


DATASET = conversion.Dataset(
    name="insightface_bin",
    read=read,
    layout="files such as lfw.bin, cfp_fp.bin, agedb_30.bin, as they come with InsightFace's training sets",
    description="Images 2i and 2i + 1 are a pair; `same` is 1 if they show one person.",
    homepage="https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_",
    license="as of each set, research",
)

if __name__ == "__main__":
    conversion.main(DATASET)
