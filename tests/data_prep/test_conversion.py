"""What all converters have from the core: reports, refusals, resumption, few-shot subsets, the command line."""

import argparse
import collections
import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from lookalikes import arguments, convert, files, jpeg, pixels, png, put, read

from data_prep import conversion, image_folder, sources
from data_prep.conversion import Dataset, Encoded, File, Item, Pixels, Skipped
from facejax.data import images, records
from facejax.errors import UserError

ALL = image_folder.DATASET


def listed(items, features=None, **fields):
    """A data set of given items, one split."""
    return Dataset(
        name="listed", read=lambda source, args: (features or {}, {"train": items}), layout="files", **fields
    )


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def skipped(summary, split="train"):
    return {item["where"]: item["reason"] for item in summary["splits"][split]["skipped"]}


# --- Bad input ---


def test_bad_images_are_counted_and_reported_with_their_path(source, tmp_path, capsys):
    good = put(source, "good.jpg", jpeg(0))
    put(source, "zero.jpg", b"")
    put(source, "cut.jpg", jpeg(1)[:-50])
    put(source, "page.jpg", "<html>404</html>")
    misnamed = put(source, "png named.JPG", png(pixels(2)))
    summary, found = convert(ALL, source, tmp_path / "out")
    assert [(r["file"], r["image"]) for r in found["train"]] == [("good.jpg", good), ("png named.JPG", misnamed)]
    assert skipped(summary) == {
        "zero.jpg": "the file is empty",
        "cut.jpg": "Premature end of JPEG file",
        "page.jpg": "not an image: 16 bytes of no known format, or far too large",
    }
    printed = capsys.readouterr().out
    assert "train: 2 records" in printed and "3 skipped" in printed and "skipped zero.jpg: the file is empty" in printed


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_stops_at_the_first(source, tmp_path, workers):
    put(source, "a.jpg", jpeg(0))
    put(source, "b.jpg", b"")
    args = arguments(ALL, source, tmp_path / "out", "--strict", f"--workers={workers}")
    with pytest.raises(UserError, match=r"^b\.jpg: the file is empty$"):
        conversion.convert(ALL, args)
    assert not (tmp_path / "out").exists()


def test_labels_out_of_range_unknown_names_and_duplicates_are_skipped(source, tmp_path):
    features = {"mood": tfds.features.ClassLabel(names=["glad", "sad"]), "note": tfds.features.Text()}
    labels = [1, "glad", 2, -1, "angry", "", 0]
    items = [
        Item(Encoded(f"{i}.jpg", jpeg(i)), {"mood": label, "note": "é"}, key=f"{i % 6}")
        for i, label in enumerate(labels)
    ]
    items.append(Skipped("list.txt, line 9", "no label"))
    summary, found = convert(listed(items, features), source, tmp_path / "out")
    assert [record["mood"] for record in found["train"]] == [1, 0]
    assert summary["splits"]["train"]["counts"] == {"mood": {"glad": 1, "sad": 1}}
    assert skipped(summary) == {
        "2.jpg": "mood 2 is out of range, 0 to 1",
        "3.jpg": "mood -1 is out of range, 0 to 1",
        "4.jpg": "'angry' is not a mood; there are glad, sad",
        "5.jpg": "'' is not a mood; there are glad, sad",
        "6.jpg": "0 is listed a second time",
        "list.txt, line 9": "no label",
    }


def test_counts_are_of_what_was_written(source, tmp_path):
    features = {"mood": tfds.features.ClassLabel(names=["glad", "sad"])}
    items = [Item(Encoded(f"{i}", b"" if i in (1, 4) else jpeg(i)), {"mood": int(i > 2)}) for i in range(6)]
    summary, _ = convert(listed(items, features), source, tmp_path / "out")
    assert summary["splits"]["train"]["counts"] == {"mood": {"glad": 2, "sad": 2}}


def test_names_with_spaces_and_of_any_script(source, tmp_path):
    names = ["Zoë Ünal/a b.jpg", "名前/写真.png", "quote'\"&.jpg"]
    data = {name: put(source, name, png(pixels(i))) for i, name in enumerate(names)}
    odd = os.fsdecode(b"latin \xe9.jpg")
    put(source, odd, png(pixels(7)))
    _, found = convert(ALL, source, tmp_path / "out")
    by_name = {record["file"]: record["image"] for record in found["train"]}
    assert {name: by_name.pop(name) for name in names} == data
    assert list(by_name) == [r"latin \xe9.jpg"]


def test_nothing_usable_is_an_error(source, tmp_path):
    with pytest.raises(UserError, match="no images for the split 'train'"):
        convert(ALL, source, tmp_path / "out")
    put(source, "a.jpg", b"")
    with pytest.raises(UserError, match=r"no records: all 1 were skipped, the first with: the file is empty"):
        convert(ALL, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- Security ---


def test_lists_cannot_leave_the_source(source, tmp_path):
    put(tmp_path, "secret.jpg", jpeg(0))
    put(tmp_path, "source2/secret.jpg", jpeg(0))  # begins as the source's name does
    (source / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (source / "folder").symlink_to(tmp_path)
    put(source, "inside.jpg", jpeg(1))
    (source / "good link.jpg").symlink_to(source / "inside.jpg")
    names = ["../secret.jpg", f"{tmp_path}/secret.jpg", "link.jpg", "folder/secret.jpg", "../source2/secret.jpg"]
    items = [Item(File(name)) for name in [*names, "x/../inside.jpg", "good link.jpg", "a\0b.jpg", "missing.jpg"]]
    (source / "x").mkdir()
    summary, found = convert(listed(items), source, tmp_path / "out")
    assert [record["file"] for record in found["train"]] == ["x/../inside.jpg", "good link.jpg"]
    reasons = skipped(summary)
    assert all(reasons.pop(name) == "the path leads out of the source folder: refused" for name in names)
    assert reasons == {"a\0b.jpg": "a name with a zero byte in it", "missing.jpg": "No such file or directory"}
    for name in ("../source2", "folder", f"{tmp_path}"):
        with pytest.raises(UserError, match="leads out"):
            sources.find(source, name)
    for name in ("../source2", f"{tmp_path}"):
        with pytest.raises(UserError, match="leads out"):
            list(sources.image_names(source, name))
    assert list(sources.image_names(source, "folder")) == ["folder"]  # not followed; refused when it is read


def test_folders_and_pipes_named_as_images_are_not_read(source, tmp_path):
    put(source, "folder.jpg/inner.jpg", jpeg(0))
    os.mkfifo(source / "pipe.jpg")
    summary, found = convert(ALL, source, tmp_path / "out")
    assert [record["file"] for record in found["train"]] == ["folder.jpg/inner.jpg"]
    assert skipped(summary) == {"pipe.jpg": "not a file"}


# --- Reading lists ---


def test_lists_and_tables(tmp_path):
    put(tmp_path, "list.txt", b"\xef\xbb\xbffirst \r\n\r\nsecond\n")
    assert list(sources.read_lines(tmp_path / "list.txt")) == ["first ", "second"]
    put(tmp_path, "table.csv", 'NAME, X\n"a,b", 3\nc,4,extra\n')
    assert list(sources.read_csv(tmp_path / "table.csv", ["X"])) == [{"NAME": "a,b", "X": "3"}, {"NAME": "c", "X": "4"}]
    with pytest.raises(UserError, match=r"table\.csv lacks the column Y, Z; it has NAME, X"):
        list(sources.read_csv(tmp_path / "table.csv", ["NAME", "Y", "Z"]))
    put(tmp_path, "short.csv", "a,b\n1\n")
    with pytest.raises(UserError, match=r"short\.csv, row 2: 1 values where the header has 2"):
        list(sources.read_csv(tmp_path / "short.csv", ["a"]))
    put(tmp_path, "latin.txt", "Zoë".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8"):
        list(sources.read_lines(tmp_path / "latin.txt"))
    with pytest.raises(UserError, match=r"no\.txt is missing"):
        list(sources.read_lines(tmp_path / "no.txt"))
    with pytest.raises(UserError, match=r"lacks one or two"):
        sources.find(tmp_path, "one", "two")


# --- Geometry ---


def test_labels_in_pixels_follow_the_image(source, tmp_path):
    features = {
        "landmarks": tfds.features.Tensor(shape=(2, 2), dtype=np.float32),
        "face": tfds.features.Tensor(shape=(4,), dtype=np.float32),
    }
    labels = {"landmarks": [[20, 30], [np.nan, np.nan]], "face": [10, 20, 50, 60]}
    image = pixels(0, 80, 70)
    dataset = listed(
        [Item(Pixels("a", image), labels, box=(10, 20, 50, 60))],
        features,
        positions=("landmarks",),
        boxes=("face",),
        has_box=True,
    )
    _, found = convert(dataset, source, tmp_path / "out", "--crop=0", "--size=20")
    record = found["train"][0]
    assert images.decode(record["image"]).shape == (20, 20, 3)
    np.testing.assert_allclose(record["landmarks"], [[5, 5], [np.nan, np.nan]])
    np.testing.assert_allclose(record["face"], [0, 0, 20, 20])
    _, found = convert(dataset, source, tmp_path / "out2")
    np.testing.assert_array_equal(images.decode(found["train"][0]["image"]), image)
    np.testing.assert_allclose(found["train"][0]["landmarks"], labels["landmarks"])


# --- Resumption and bytes ---


def people(source, count=4, each=6):
    return {f"p{i}/{k}.jpg": put(source, f"p{i}/{k}.jpg", jpeg(10 * i + k)) for i in range(count) for k in range(each)}


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_workers_and_interruptions_leave_the_same_bytes(source, tmp_path, monkeypatch, file_format):
    content = people(source)
    options = [f"--format={file_format}", "--shard_mb=0.004", "--labels=identity"]

    def run(out, *more):
        conversion.main(ALL, [f"--source={source}", f"--out={tmp_path / out}", *options, *more])

    run("whole", "--workers=0")
    whole = files(tmp_path / "whole")
    assert len(whole) > 6  # several shards
    run("parallel", "--workers=2")
    reads = []

    def counted(self, source, read=File.read):
        reads.append(self.name)
        if len(reads) == stop_at:
            raise KeyboardInterrupt
        return read(self, source)

    monkeypatch.setattr(File, "read", counted)
    stop_at = len(content) + 5
    with pytest.raises(SystemExit) as stopped:
        run("interrupted", "--workers=0")
    assert stopped.value.code == 130 and not (tmp_path / "interrupted").exists()
    needed, reads = len(reads), reads[:0]
    stop_at = -1
    run("interrupted", "--workers=0")
    assert len(reads) < len(content) + 16 and needed > 16  # 16 are read to plan the shards
    for out in ("parallel", "interrupted"):
        assert files(tmp_path / out) == whole
    assert {r["file"]: r["image"] for r in read(tmp_path / "whole")} == content
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_another_source_does_not_go_on_with_the_old_one(source, tmp_path, monkeypatch):
    """One image is replaced in the middle, which none of the examples that plan the shards shows."""
    names = list(people(source, count=10))
    options = ["--shard_mb=0.003", "--workers=0"]
    args = [f"--source={source}", f"--out={tmp_path / 'out'}", *options]
    monkeypatch.setattr(records, "_fsync", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit):
        conversion.main(ALL, args)
    monkeypatch.undo()
    (source / names[7]).rename(source / "renamed.jpg")
    conversion.main(ALL, args)
    assert {r["file"] for r in read(tmp_path / "out")} == {*names, "renamed.jpg"} - {names[7]}


# --- Few-shot subsets ---


def identities(found):
    return collections.Counter(record["identity"] for record in found["train"])


def test_shots_and_fractions(source, tmp_path):
    people(source, count=10, each=5)
    labels = "--labels=identity"
    runs = {}
    for name, options in {
        "1": ["--shots=1"],
        "2": ["--shots=2"],
        "again": ["--shots=2"],
        "other": ["--shots=2", "--seed=1"],
        "some": ["--identity_fraction=0.3"],
        "both": ["--identity_fraction=0.3", "--shots=2"],
        "more": ["--shots=10"],
    }.items():
        runs[name] = convert(ALL, source, tmp_path / name, labels, *options)[1]
    chosen = {name: {record["file"] for record in found["train"]} for name, found in runs.items()}
    assert identities(runs["1"]) == dict.fromkeys(range(10), 1)
    assert identities(runs["2"]) == dict.fromkeys(range(10), 2)
    assert identities(runs["some"]) == dict.fromkeys(range(3), 5)  # counted anew
    assert identities(runs["both"]) == dict.fromkeys(range(3), 2)
    assert identities(runs["more"]) == dict.fromkeys(range(10), 5)
    assert chosen["1"] < chosen["2"] == chosen["again"] != chosen["other"]
    assert chosen["both"] < chosen["some"]
    assert files(tmp_path / "2") == files(tmp_path / "again")
    for record in runs["some"]["train"]:  # the name stays with the number
        assert {r["name"] for r in runs["some"]["train"] if r["identity"] == record["identity"]} == {record["name"]}
        assert record["file"].startswith(record["name"])


def test_subsets_of_classes_keep_the_names(source, tmp_path):
    features = {"who": tfds.features.ClassLabel(names=[f"person{i}" for i in range(8)])}
    items = [Item(Encoded(f"{i}", jpeg(i)), {"who": i % 8}) for i in range(16)]
    items.append(Item(Encoded("bad", jpeg(0)), {"who": 99}))
    summary, found = convert(
        listed(items, features, identity="who"), source, tmp_path / "out", "--identity_fraction=0.25", "--shots=1"
    )
    kept = records.open_split(tmp_path / "out", "train").features["who"].names
    assert len(kept) == 2 and [r["who"] for r in found["train"]] == sorted(r["who"] for r in found["train"])
    assert all(f"person{int(r['file']) % 8}" == kept[r["who"]] for r in found["train"])
    assert summary["splits"]["train"]["counts"] == {"who": dict.fromkeys(kept, 1)}


# --- The command line ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source={tmp}/no"], "no such folder; it holds images"),
        (["--out={tmp}/source"], "exists already"),
        (["--size=-3"], "must be a number of pixels"),
        (["--shard_mb=0"], "must be above 0"),
        (["--identity_fraction=0", "--labels=identity"], "above 0 and at most 1"),
        (["--identity_fraction=0.01", "--labels=identity"], "of 1 identities leaves none"),
        (["--shots=1"], "need records with identities"),
        (["--split=validation"], "image_folder has train"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(source, tmp_path, capsys, options, message):
    put(source, "p/a.jpg", jpeg(0))
    given = ["--source={tmp}/source", "--out={tmp}/out", "--workers=0", *options]
    with pytest.raises(SystemExit) as stopped:
        conversion.main(ALL, [option.format(tmp=tmp_path) for option in given])
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert stopped.value.code == 2
    assert error.startswith("image_folder: ") and message in error
    assert not (tmp_path / "out").exists()


def test_crop_and_align_are_offered_where_there_is_what_they_need(source, capsys):
    bare = conversion.parser(listed([])).format_help()
    assert "--crop" not in bare and "--align" not in bare and "--shots" not in bare
    dataset = dataclasses.replace(listed([]), has_box=True, has_points=True, identity="who")
    assert all(option in conversion.parser(dataset).format_help() for option in ("--crop", "--align", "--shots"))
    with pytest.raises(UserError, match="exclude each other"):
        conversion.convert(dataset, arguments(dataset, source, source / "out", "--crop=0", "--align"))


def test_as_a_command(source, tmp_path):
    data = put(source, "a.jpg", jpeg(0))
    command = [sys.executable, "-m", "data_prep.image_folder", f"--source={source}", f"--out={tmp_path / 'out'}"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0 and "train: 1 records" in first.stdout
    assert [record["image"] for record in read(tmp_path / "out")] == [data]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 2
    assert second.stderr.startswith("image_folder: --out=") and second.stderr.count("\n") == 1


def test_tfds_finds_the_same_records(source, tmp_path):
    people(source, count=2, each=3)
    convert(ALL, source, tmp_path / "out", "--labels=class", "--format=array_record")
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.splits["train"].num_examples == 6
    assert builder.info.features["label"].names == ["p0", "p1"]
    decoded = builder.as_data_source("train")[4]
    assert decoded["label"] == 1
    np.testing.assert_array_equal(decoded["image"], images.decode(jpeg(11)))


def test_arguments_reach_the_converter(source, tmp_path):
    def read_with(source, args: argparse.Namespace):
        return {}, {"train": [Item(Encoded("a", jpeg(args.number)))]}

    dataset = Dataset(
        name="own", read=read_with, layout="x", add_arguments=lambda parser: parser.add_argument("--number", type=int)
    )
    _, found = convert(dataset, source, tmp_path / "out", "--number=3")
    assert found["train"][0]["image"] == jpeg(3)
