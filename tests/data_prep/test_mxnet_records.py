"""MXNet's records: framing, records in parts, labels, people's records, the order of channels."""

import struct

import numpy as np
import pytest
import simplejpeg
from lookalikes import arguments, convert, jpeg, pixels, png, put

from data_prep import conversion, mxnet_records
from data_prep.mxnet_records import DATASET
from facejax.data import images
from facejax.errors import UserError

MAGIC = struct.pack("<I", 0xCED7230A)
WHOLE, FIRST, MIDDLE, LAST = range(4)


def frame(data):
    """A record as dmlc's writer lays it down: cut where a word of the data is the magic number, padded to words."""
    words = range(0, len(data) - 3, 4)
    cuts = [at for at in words if data[at : at + 4] == MAGIC]
    starts, ends = [0, *(at + 4 for at in cuts)], [*cuts, len(data)]
    pieces = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    kinds = [FIRST, *[MIDDLE] * (len(pieces) - 2), LAST] if cuts else [WHOLE]
    return b"".join(
        MAGIC + struct.pack("<I", kind << 29 | len(piece)) + piece + b"\0" * (-len(piece) % 4)
        for kind, piece in zip(kinds, pieces, strict=True)
    )


def pack(labels, image=b"", key=0):
    """IRHeader and image, as mxnet.recordio.pack: a number is in the header, several follow it."""
    if np.ndim(labels) == 0:
        return struct.pack("<IfQQ", 0, labels, key, 0) + image
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0, key, 0, *labels) + image


def write(folder, payloads, num_people, size="112,112"):
    """The three files; payloads by key."""
    rec, idx = b"", ""
    for key, payload in payloads.items():
        idx += f"{key}\t{len(rec)}\n"
        rec += frame(payload)
    put(folder, "train.rec", rec)
    put(folder, "train.idx", idx)
    put(folder, "property", f"{num_people},{size}\n")


def with_magic(data, count=1):
    """The JPEG with a comment that holds the magic number at places where the record is cut."""
    header = 24 + 2 + 4  # of the record, start of image, of the comment
    comment = b"\0" * (-header % 4) + MAGIC * count + b"and some more"
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[2:]


def insightface(folder, num_people=93431, labels=(0, 0, 1, 2), content=None):
    """Images 1 to 4, then two records of people, as InsightFace lays its sets out."""
    content = content or [jpeg(i, 112, 112) for i in range(len(labels))]
    payloads = {0: pack([len(labels) + 1, len(labels) + 3])}
    payloads |= {i: pack(label, data, i) for i, (label, data) in enumerate(zip(labels, content, strict=True), 1)}
    payloads |= {len(labels) + 1: pack([1, 3]), len(labels) + 2: pack([3, 4])}
    write(folder, payloads, num_people)
    return content


def test_bytes_and_labels(tmp_path):
    content = insightface(tmp_path / "source")
    summary, found = convert(DATASET, tmp_path / "source", tmp_path / "out")
    assert [r["image"] for r in found["train"]] == content
    assert [r["identity"] for r in found["train"]] == [0, 0, 1, 2]
    assert [r["file"] for r in found["train"]] == [f"train.rec:{key}" for key in range(1, 5)]
    assert summary["splits"]["train"]["counts"] == {"identity": 3}


def test_records_in_parts_and_vectors_of_labels(tmp_path):
    content = [with_magic(jpeg(0)), with_magic(jpeg(1), 3), jpeg(2), MAGIC * 2 + jpeg(3), jpeg(4)]
    labels = [7, 8, [5, 123], [6, 1], list(range(4, 40))]
    write(tmp_path / "source", {i: pack(*pair, i) for i, pair in enumerate(zip(labels, content, strict=True))}, 93431)
    rec = (tmp_path / "source" / "train.rec").read_bytes()
    assert rec.count(MAGIC) > len(content)
    with open(tmp_path / "source" / "train.rec", "rb") as file:
        offsets = np.loadtxt(tmp_path / "source" / "train.idx", dtype=int)[:, 1]
        for offset, label, data in zip(offsets.tolist(), labels, content, strict=True):
            found, image = mxnet_records.read_record(file.fileno(), offset)
            assert image == data
            np.testing.assert_array_equal(found, np.atleast_1d(label))
            np.testing.assert_array_equal(mxnet_records.read_labels(file.fileno(), offset), np.atleast_1d(label))
    summary, found = convert(DATASET, tmp_path / "source", tmp_path / "out")  # record 0 is an image here
    assert [(r["identity"], r["image"]) for r in found["train"]] == [
        (7, content[0]),
        (8, content[1]),
        (5, content[2]),
        (4, content[4]),
    ]
    assert [item["where"] for item in summary["splits"]["train"]["skipped"]] == ["train.rec:3"]


@pytest.mark.parametrize(
    ("num_people", "options", "swapped"),
    [
        (93431, [], False),
        (360232, [], False),
        (205990, [], True),
        (2059906, [], True),
        (205990, ["--channel_order=rgb"], False),
        (93431, ["--channel_order=bgr"], True),
        (55, ["--channel_order=bgr"], True),
    ],
)
def test_records_are_rgb_whatever_the_source(tmp_path, num_people, options, swapped):
    rgb = [pixels(i, 112, 112) for i in range(4)]
    content = [png(image[:, :, ::-1] if swapped else image) for image in rgb]
    insightface(tmp_path / "source", num_people, content=content)
    _, found = convert(DATASET, tmp_path / "source", tmp_path / "out", *options)
    for record, image in zip(found["train"], rgb, strict=True):
        np.testing.assert_array_equal(images.decode(record["image"]), image)
    sheet = images.decode((tmp_path / "out.channel_order.png").read_bytes())
    label = len(sheet) // 2 - 118  # over each of two rows
    np.testing.assert_array_equal(sheet[4 + label : 116 + label, 4:116], rgb[0])


def test_swapped_jpegs_stay_jpegs_near_to_what_they_were(tmp_path):
    content = insightface(tmp_path / "source", 205990)
    _, found = convert(DATASET, tmp_path / "source", tmp_path / "out")
    for record, data in zip(found["train"], content, strict=True):
        assert simplejpeg.is_jpeg(record["image"])
        error = images.decode(record["image"]).astype(int) - images.decode(data)[:, :, ::-1]
        assert np.abs(error).mean() < 2


def test_few_shot(tmp_path):
    insightface(tmp_path / "source", labels=(4, 4, 9, 9, 9, 30))
    _, found = convert(DATASET, tmp_path / "source", tmp_path / "out", "--shots=2")
    assert [r["identity"] for r in found["train"]] == [0, 0, 1, 1, 2]


def test_labels_out_of_range(tmp_path):
    insightface(tmp_path / "source", labels=(0, -1, 93431, 0.5))
    summary, found = convert(DATASET, tmp_path / "source", tmp_path / "out")
    assert [r["identity"] for r in found["train"]] == [0]
    assert [item["reason"] for item in summary["splits"]["train"]["skipped"]] == [
        "identity -1 is out of range, 0 to 93430",
        "identity 93431 is out of range, 0 to 93430",
        "identity 0.5 is out of range, 0 to 93430",
    ]


def test_damaged_and_truncated_files(tmp_path):
    source = tmp_path / "source"
    insightface(source)
    rec = (source / "train.rec").read_bytes()
    offsets = np.loadtxt(source / "train.idx", dtype=int)[:, 1]
    put(source, "train.rec", rec[: offsets[4] + 60])  # ends in image 4
    summary, found = convert(DATASET, source, tmp_path / "cut")
    assert len(found["train"]) == 3
    assert "the file ends at byte" in summary["splits"]["train"]["skipped"][0]["reason"]
    put(source, "train.rec", rec[: offsets[2]] + b"\0\0\0\0" + rec[offsets[2] + 4 :])
    summary, found = convert(DATASET, source, tmp_path / "damaged")
    assert "no record at byte" in summary["splits"]["train"]["skipped"][0]["reason"]
    with pytest.raises(UserError, match=r"^train\.rec:2: no record"):
        conversion.convert(DATASET, arguments(DATASET, source, tmp_path / "strict", "--strict"))
    put(source, "train.rec", b"")
    with pytest.raises(UserError, match="record 0: the file ends"):
        convert(DATASET, source, tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("property", "93431", "three numbers"),
        ("property", "a,b,c", "three numbers"),
        ("property", "55,112,112", "55 people and is not a known set: set --channel_order"),
        ("train.idx", "0 0\n1 5\n", "a key, a tab and an offset"),
        ("train.idx", "", "a key, a tab and an offset"),
        ("train.rec", None, r"lacks train\.rec"),
        ("train.idx", None, r"lacks train\.idx"),
        ("property", None, "lacks property"),
    ],
)
def test_what_is_missing_or_makes_no_sense(tmp_path, name, content, message):
    source = tmp_path / "source"
    insightface(source)
    (source / name).unlink() if content is None else put(source, name, content)
    with pytest.raises(UserError, match=message):
        convert(DATASET, source, tmp_path / "out")
