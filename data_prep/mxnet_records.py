"""Recognition sets as MXNet records (MS1MV2, MS1MV3, WebFace, Glint360K): train.rec, train.idx and property.

python -m data_prep.mxnet_records --source=DIR --out=DIR [--channel_order=rgb|bgr]

Read without MXNet. The formats: https://mxnet.apache.org/versions/1.9.1/api/faq/recordio, and of the labels
https://github.com/deepinsight/insightface. A picture next to --out, OUT.channel_order.png, shows faces with the
chosen order of channels and with the other one.
"""

import argparse
import dataclasses
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from etils import epath

from data_prep import conversion, sources
from data_prep.conversion import Item, Skipped
from facejax import paths
from facejax.data import images
from facejax.errors import UserError

# The number of people identifies the set. Decoded as JPEG, WebFace's records, made by the official img2rec, have red
# and blue swapped; the others are RGB.
CHANNEL_ORDERS = {
    10572: ("CASIA-WebFace", "rgb"),
    85742: ("MS1MV2", "rgb"),
    93431: ("MS1MV3", "rgb"),
    360232: ("Glint360K", "rgb"),
    205990: ("WebFace4M", "bgr"),
    617970: ("WebFace12M", "bgr"),
    2059906: ("WebFace42M", "bgr"),
}

REC = "train.rec"

_MAGIC = struct.pack("<I", 0xCED7230A)
_FRAME = struct.Struct("<4sI")  # magic; 3 bits for the part of a record, 29 for its length
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<IfQQ")  # number of labels that follow (0: only the next one), label, two numbers
_SHEET_FACES = 16


@dataclasses.dataclass(frozen=True)
class Record:
    """The image of one record of a .rec file."""

    key: int
    offset: int

    @property
    def name(self) -> str:
        """File and key."""
        return f"{REC}:{self.key}"

    def read(self, source: Path) -> bytes:
        """The encoded image."""
        with open(source / REC, "rb") as file:
            return read_record(file.fileno(), self.offset)[1]


def read_record(file: int, offset: int) -> tuple[np.ndarray, bytes]:
    """One record of an open .rec file.

    A record whose data contains the magic number is stored in parts, split there.

    Args:
      file: descriptor.
      offset: where the record begins.

    Returns:
      labels: float32 [N].
      image: the bytes that follow.

    Raises:
      ValueError: there is no record, or the file ends in it.
    """
    parts = []
    while True:
        magic, word = _FRAME.unpack(_read(file, offset, _FRAME.size))
        part, length = word >> 29, word & ((1 << 29) - 1)
        if magic != _MAGIC or part not in ((_MIDDLE, _LAST) if parts else (_WHOLE, _FIRST)):
            raise ValueError(f"no record at byte {offset}: the index does not belong to the records")
        offset += _FRAME.size
        parts.append(_read(file, offset, length))
        offset += -(-length // 4) * 4
        if part in (_WHOLE, _LAST):
            break
    data = _MAGIC.join(parts)
    labels, size = _labels(data)
    return labels, data[size:]


def _labels(data: bytes) -> tuple[np.ndarray, int]:
    """Labels at the beginning of a record, and their number of bytes."""
    if len(data) < _HEADER.size:
        raise ValueError("a record without a header")
    count, label, _, _ = _HEADER.unpack_from(data)
    if not count:
        return np.array([label], np.float32), _HEADER.size
    if len(data) < _HEADER.size + 4 * count:
        raise ValueError(f"a record that ends within its {count} labels")
    return np.frombuffer(data, "<f4", count, _HEADER.size), _HEADER.size + 4 * count


def _read(file: int, offset: int, size: int) -> bytes:
    data = os.pread(file, size, offset)
    if len(data) < size:
        raise ValueError(f"the file ends at byte {offset + len(data)}, within a record")
    return data


def read(source: Path, args: argparse.Namespace):
    """One split, `train`."""
    sources.find(source, REC)
    idx = sources.find(source, "train.idx")
    num_people = _num_people(source)
    order = args.channel_order
    if order is None:
        if num_people not in CHANNEL_ORDERS:
            raise UserError(f"{source} has {num_people} people and is not a known set: set --channel_order=rgb or bgr")
        name, order = CHANNEL_ORDERS[num_people]
        print(f"{name}, recognised by its {num_people} people: treating images as {order.upper()}", file=sys.stderr)
    rows = _images(source, _index(idx))
    _write_sheet(source, rows, order, paths.resolve(f"{args.out}.channel_order.png"))
    return {"identity": conversion.PEOPLE["identity"]}, {"train": _items(source, rows, num_people, order)}


def _num_people(source: Path) -> int:
    path = sources.find(source, "property")
    try:
        num_people, _, _ = (int(value) for value in next(sources.read_lines(path), "").split(","))
    except ValueError:
        raise UserError(f"{path} must contain three numbers: people, height, width, such as 93431,112,112") from None
    return num_people


def _index(path: Path) -> np.ndarray:
    """Keys and offsets of all records, int64 [N, 2], by key."""
    try:
        rows = np.array([line.split("\t") for line in sources.read_lines(path)], np.int64)
    except ValueError:
        rows = np.empty(0)
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise UserError(f"{path} must contain lines of a key, a tab and an offset")
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _images(source: Path, rows: np.ndarray) -> np.ndarray:
    """The rows of the index that are images; record 0 may tell where they end and the records of people begin."""
    if not len(rows) or rows[0, 0] != 0:
        return rows
    with open(source / REC, "rb") as file:
        try:
            labels, image = read_record(file.fileno(), int(rows[0, 1]))
        except ValueError as error:
            raise UserError(f"{source / REC}, record 0: {error}") from error
    if image:
        return rows
    return rows[(rows[:, 0] > 0) & (rows[:, 0] < int(labels[0]))]


def _items(source: Path, rows: np.ndarray, num_people: int, order: str) -> Iterator[Item | Skipped]:
    with open(source / REC, "rb") as file:
        for key, offset in rows.tolist():
            image = Record(key, offset)
            try:
                label = float(read_labels(file.fileno(), offset)[0])
            except ValueError as error:
                yield Skipped(image.name, str(error))
                continue
            if not 0 <= label < num_people or label % 1:
                yield Skipped(image.name, f"identity {label:g} is out of range, 0 to {num_people - 1}")
            else:
                yield Item(image, {"identity": int(label)}, channel_order=order)


def read_labels(file: int, offset: int) -> np.ndarray:
    """The labels of a record without its image, from a few bytes; arguments and errors as for `read_record`."""
    start = os.pread(file, 64, offset)
    if len(start) < _FRAME.size + _HEADER.size or not start.startswith(_MAGIC):
        return read_record(file, offset)[0]
    length = _FRAME.unpack_from(start)[1] & ((1 << 29) - 1)
    data = start[_FRAME.size :][:length]
    try:
        return _labels(data)[0]
    except ValueError:
        return read_record(file, offset)[0]  # many labels, or a first part shorter than them


def _write_sheet(source: Path, rows: np.ndarray, order: str, path: epath.Path) -> None:
    from facejax import pictures  # needs JAX, which the workers do not

    faces = []
    for i in np.unique(np.linspace(0, len(rows) - 1, min(_SHEET_FACES, len(rows))).astype(int)):
        try:
            faces.append(images.decode(Record(*rows[i].tolist()).read(source)))
        except (ValueError, OSError):
            continue
    if not faces:
        return
    swapped = [face[:, :, ::-1] for face in faces]
    sheet = [swapped, faces] if order == "bgr" else [faces, swapped]
    pictures.write_png(path, pictures.sheet(sheet, labels=["as taken", "with red and blue swapped"]))
    print(f"{path} shows faces as they will be stored, and below with red and blue swapped", file=sys.stderr)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--channel_order", choices=("rgb", "bgr"), help="of the decoded images; defaults to that of the set"
    )


DATASET = conversion.Dataset(
    name="mxnet_records",
    read=read,
    layout="train.rec, train.idx and property",
    description="Aligned faces of 112 x 112 pixels for recognition.",
    homepage="https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_",
    license="research only",
    add_arguments=_add_arguments,
    identity="identity",
)

if __name__ == "__main__":
    from data_prep import mxnet_records  # under its own name, by which other processes know its records

    conversion.main(mxnet_records.DATASET)
