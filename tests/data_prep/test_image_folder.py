"""One's own pictures, in whatever folders they are."""

import io

import numpy as np
import pytest
from lookalikes import convert, jpeg, pixels, png, put
from PIL import Image

from data_prep.image_folder import DATASET
from facejax.data import images
from facejax.errors import UserError


@pytest.fixture
def source(tmp_path):
    content = {
        "top.jpg": jpeg(0),
        "Ann/1.jpg": jpeg(1),
        "Ann/2.PNG": png(pixels(2)),
        "Bob Ö/deep/er/3.jpeg": jpeg(3),
        "Bob Ö/notes.txt": b"not an image",
        ".hidden/4.jpg": jpeg(4),
        "Ann/._1.jpg": b"what a Mac leaves",
        "empty/readme": b"",
    }
    for name, data in content.items():
        put(tmp_path / "source", name, data)
    return tmp_path / "source"


def test_any_tree(source, tmp_path):
    summary, found = convert(DATASET, source, tmp_path / "out")
    names = ["Ann/1.jpg", "Ann/2.PNG", "Bob Ö/deep/er/3.jpeg", "top.jpg"]
    assert [record["file"] for record in found["train"]] == names
    assert [record["image"] for record in found["train"]] == [(source / name).read_bytes() for name in names]
    assert set(found["train"][0]) == {"image", "file"}
    assert summary["splits"]["train"]["skipped"] == []


def test_folders_of_people(source, tmp_path):
    summary, found = convert(DATASET, source, tmp_path / "out", "--labels=identity")
    assert [(r["identity"], r["name"]) for r in found["train"]] == [(0, "Ann"), (0, "Ann"), (1, "Bob Ö")]
    assert summary["splits"]["train"]["counts"] == {"identity": 2}


def test_folders_of_classes(source, tmp_path):
    summary, found = convert(DATASET, source, tmp_path / "out", "--labels=class")
    assert [record["label"] for record in found["train"]] == [0, 0, 1]
    assert summary["splits"]["train"]["counts"] == {"label": {"Ann": 2, "Bob Ö": 1, "empty": 0}}


def test_splits_share_the_classes(tmp_path):
    source = tmp_path / "source"
    for name in ("train/cat/1.jpg", "train/dog/1.jpg", "test/dog/2.jpg", "test/eel/2.jpg"):
        put(source, name, jpeg(0))
    summary, found = convert(DATASET, source, tmp_path / "out", "--labels=class", "--splits")
    assert {s: [r["label"] for r in records] for s, records in found.items()} == {"test": [1, 2], "train": [0, 1]}
    assert summary["splits"]["test"]["counts"] == {"label": {"cat": 0, "dog": 1, "eel": 1}}
    _, found = convert(DATASET, source, tmp_path / "one", "--splits", "--split=test")
    assert {s: [r["file"] for r in records] for s, records in found.items()} == {
        "test": ["test/dog/2.jpg", "test/eel/2.jpg"]
    }
    with pytest.raises(UserError, match="need --split, one of test, train"):
        convert(DATASET, source, tmp_path / "few", "--labels=identity", "--splits", "--shots=1")


def test_labels_want_folders(tmp_path):
    put(tmp_path / "source", "a.jpg", jpeg(0))
    for options in (["--labels=class"], ["--splits"]):
        with pytest.raises(UserError, match="has no folders"):
            convert(DATASET, tmp_path / "source", tmp_path / "out", *options)


def test_links_that_lead_outside_or_back_are_skipped_and_listed(source, tmp_path):
    put(tmp_path / "private", "secret.jpg", jpeg(9))
    links = {
        "outside.jpg": tmp_path / "private" / "secret.jpg",
        "outside": tmp_path / "private",
        "Ann/back": source,
        "Ann/itself": "itself",
        "Ann/itself.jpg": "itself.jpg",
        "Ann/bob": "../Bob Ö",  # followed
        "Bob Ö/ann": "../Ann",  # and back through this one
        "Ann/other.jpg": "1.jpg",  # followed
        "lost.jpg": "nothing",
    }
    for name, target in links.items():
        (source / name).symlink_to(target)
    for labels in ("none", "identity"):
        summary, found = convert(DATASET, source, tmp_path / labels, f"--labels={labels}")
        skipped = {item["where"]: item["reason"] for item in summary["splits"]["train"]["skipped"]}
        assert "leads out of the source folder" in skipped["outside"]
        assert "not followed" in skipped["Ann/back"] and "not followed" in skipped["Ann/bob/ann"]
        assert "symbolic links" in skipped["Ann/itself.jpg"]
        names = {record["file"] for record in found["train"]}
        assert {"Ann/other.jpg", "Ann/bob/deep/er/3.jpeg"} <= names and not names & skipped.keys()
        if labels == "none":
            assert "leads out" in skipped["outside.jpg"] and "No such file" in skipped["lost.jpg"]
            assert len(names) < 12


def test_formats_of_phones_are_read_or_listed(tmp_path):
    image = Image.fromarray(pixels(3, 64, 48))
    Image.init()
    names = {name: kind for name, kind in (("a.avif", "AVIF"), ("b.jp2", "JPEG2000")) if kind in Image.SAVE}
    for name, kind in names.items():
        buffer = io.BytesIO()
        image.save(buffer, kind)
        put(tmp_path / "source", name, buffer.getvalue())
    put(tmp_path / "source", "phone.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    put(tmp_path / "source", "plain.jpg", jpeg(0))
    summary, found = convert(DATASET, tmp_path / "source", tmp_path / "out")
    skipped = {item["where"]: item["reason"] for item in summary["splits"]["train"]["skipped"]}
    assert skipped.pop("phone.HEIC") == "HEIC is not read; convert it to JPEG or PNG"
    files = {record["file"]: record["image"] for record in found["train"]}
    assert files.keys() | skipped.keys() == {*names, "plain.jpg"}  # OpenCV reads them or does not
    for name in files.keys() - {"plain.jpg"}:
        assert np.abs(images.decode(files[name]).astype(int) - pixels(3, 64, 48)).mean() < 8
    assert all("cannot be decoded" in reason or "not an image" in reason for reason in skipped.values())
