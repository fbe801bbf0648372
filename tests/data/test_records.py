"""Data sets in TFDS layout: what goes in comes out, in both formats, and every damage is named."""

import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from facejax.data import images, records, tfrecord
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError

FORMATS = ["tfrecord", "array_record"]
FEATURES = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "regions": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
    "expression": tfds.features.ClassLabel(names=["neutral", "happy", "sad"]),
    "identity": tfds.features.Scalar(np.int64),
    "yaw": tfds.features.Scalar(np.float32),
    "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
    "visibility": tfds.features.Tensor(shape=(68,), dtype=np.bool_),
    "attributes": tfds.features.Tensor(shape=(10,), dtype=np.uint8),
    "name": tfds.features.Text(),
    "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
    "matches": tfds.features.Sequence(np.int64),
}


def _example(i):
    rng = np.random.default_rng(i)
    return {
        "image": rng.bytes(int(rng.integers(1, 3000))),
        "regions": rng.bytes(100),
        "expression": int(rng.integers(3)),
        "identity": 2**40 + i,
        "yaw": rng.normal(),
        "landmarks": rng.normal(size=(68, 2)).astype(np.float32),
        "visibility": rng.random(68) > 0.5,
        "attributes": rng.integers(0, 2, 10).astype(np.uint8),
        "name": f"Zoë Ünal/{i}.jpg",
        "boxes": [tfds.features.BBox(0.0, 0.25, 0.5, 1.0)] * (i % 3),
        "matches": list(range(i % 4)),
    }


class Examples:
    """A sequence that makes its examples when asked, as a converter does; fails from the `fail_at`-th call on."""

    def __init__(self, length, fail_at=None):
        self.length, self.fail_at, self.calls = length, fail_at, []

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        if not 0 <= i < self.length:
            raise IndexError(i)
        self.calls.append(i)
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        return records.Skipped(f"file {i}", "it is grey") if i % 10 == 3 else _example(i)


def _write(folder, splits=None, name="faces", file_format="tfrecord", num_workers=0, **info):
    shards = records.Shards(file_format, num_bytes=20_000, num_workers=num_workers)
    return records.write(folder, records.Info(name, FEATURES, **info), splits or {"train": Examples(50)}, shards)


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _flip(path, position):
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 1
    path.write_bytes(damaged)


def test_only_what_is_written_shows_progress(tmp_path, capsys):
    _write(tmp_path / "data", {"train": (_example(i) for i in range(3))})
    bars = {line.split(":")[0] for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line}
    assert bars == {"faces train"}


@pytest.mark.parametrize("file_format", FORMATS)
def test_round_trip(tmp_path, file_format):
    splits = {"train": Examples(50), "test": (_example(i) for i in range(100, 120))}
    summaries = _write(tmp_path / "data", splits, file_format=file_format, description="Faces.")
    assert summaries["train"].num_records == 45 and summaries["test"].num_records == 20
    assert [s.where for s in summaries["train"].skipped] == [f"file {i}" for i in (3, 13, 23, 33, 43)]
    assert len(summaries["train"].shard_lengths) > 2 and len(summaries["test"].shard_lengths) > 1
    assert records.num_records(tmp_path / "data") == {"train": 45, "test": 20}
    train, test = (records.open_split(tmp_path / "data", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (45, 20)
    expected = [_example(i) for i in range(50) if i % 10 != 3] + [_example(i) for i in range(100, 120)]
    for record, example in zip(
        [*map(train.__getitem__, range(45)), *map(test.__getitem__, range(20))], expected, strict=True
    ):
        assert record.keys() == FEATURES.keys()
        for key in ("image", "regions", "name", "expression", "identity"):
            assert record[key] == example[key]
        assert record["yaw"] == np.float32(example["yaw"]) and record["yaw"].dtype == np.float32
        for key in ("landmarks", "visibility", "attributes", "matches"):
            np.testing.assert_array_equal(record[key], example[key])
        assert record["landmarks"].dtype == np.float32 and record["visibility"].dtype == np.bool_
        assert record["attributes"].dtype == np.uint8 and record["boxes"].shape == (len(example["boxes"]), 4)
    with pytest.raises(IndexError):
        train[45]


class Several(Examples):
    """Example i is i % 3 of them, but for those that are skipped."""

    def __getitem__(self, i):
        example = super().__getitem__(i)
        return example if isinstance(example, records.Skipped) else [example] * (i % 3)


@pytest.mark.parametrize("as_sequence", [True, False])
def test_an_example_may_be_several(tmp_path, as_sequence):
    def splits(**options):
        return {"train": Several(50, **options) if as_sequence else map(Several(50, **options).__getitem__, range(50))}

    expected = [i for i in range(50) if i % 10 != 3 for _ in range(i % 3)]
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "data", splits(fail_at=45))
    summary = _write(tmp_path / "data", splits())["train"]
    source = records.open_split(tmp_path / "data", "train")
    assert [source[i]["name"] for i in range(len(source))] == [_example(i)["name"] for i in expected]
    assert summary.num_records == len(expected) and len(summary.shard_lengths) > 1
    assert summary.uneven == [(i, 0 if i % 10 == 3 else i % 3) for i in range(50) if i % 10 == 3 or i % 3 != 1]


@pytest.mark.parametrize("file_format", FORMATS)
def test_tfds_finds_its_way(tmp_path, file_format):
    summaries = _write(tmp_path / "data", file_format=file_format, description="Faces.", version="1.2.3")
    builder = tfds.builder_from_directory(tmp_path / "data")
    assert builder.info.full_name == "faces/1.2.3" and builder.info.description == "Faces."
    assert builder.info.features["expression"].names == ["neutral", "happy", "sad"]
    split = builder.info.splits["train"]
    assert split.shard_lengths == summaries["train"].shard_lengths and split.num_examples == 45
    assert split.num_bytes == summaries["train"].num_bytes > 0
    assert sorted(split.filenames) == sorted(p.name for p in (tmp_path / "data").glob(f"faces-train.{file_format}-*"))
    if file_format == "array_record":
        source = builder.as_data_source(
            "train", decoders={"image": tfds.decode.SkipDecoding(), "regions": tfds.decode.SkipDecoding()}
        )
        assert source[7]["image"] == _example(8)["image"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_same_bytes_whatever_the_workers_and_interruptions(tmp_path, file_format):
    _write(tmp_path / "a", file_format=file_format)
    _write(tmp_path / "b", file_format=file_format, num_workers=2)
    interrupted = Examples(50, fail_at=45)
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "c", {"train": interrupted}, file_format=file_format)
    assert not (tmp_path / "c").exists() and (tmp_path / ".c.partial").exists()
    resumed = Examples(50)
    summary = _write(tmp_path / "c", {"train": resumed}, file_format=file_format)["train"]
    assert summary.num_records == 45 and len(summary.skipped) == 5
    assert len(resumed.calls) < 50 <= len(interrupted.calls) + len(resumed.calls)  # it went on
    assert not (tmp_path / ".c.partial").exists()
    contents = _contents(tmp_path / "a")
    assert contents == _contents(tmp_path / "b") == _contents(tmp_path / "c")
    assert not [name for name in contents if name.startswith(".")]


def test_another_conversion_starts_over(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "data", {"train": Examples(50, fail_at=45)})
    with caplog.at_level(logging.WARNING):
        _write(tmp_path / "data", {"train": Examples(49)})
    assert "starting over" in caplog.text
    _write(tmp_path / "fresh", {"train": Examples(49)})
    assert _contents(tmp_path / "data") == _contents(tmp_path / "fresh")


def test_interrupted_stream_starts_over(tmp_path):
    def failing():
        yield from map(_example, range(30))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "data", {"test": map(_example, range(20)), "train": failing()})
    assert not (tmp_path / "data").exists()
    splits = {"test": map(_example, range(3)), "train": map(_example, range(10))}
    _write(tmp_path / "data", splits)
    assert records.num_records(tmp_path / "data") == {"test": 3, "train": 10}
    assert len(list((tmp_path / "data").glob("faces-test*"))) == 1


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="data exists already; remove it or"):
        _write(tmp_path / "data")
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_two_writers_of_one_folder(tmp_path):
    def second_writer():
        with pytest.raises(UserError, match="another process is writing"):
            _write(tmp_path / "data")
        yield _example(0)

    _write(tmp_path / "data", {"train": second_writer()})
    assert len(records.open_split(tmp_path / "data", "train")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks": np.zeros((5, 2), np.float32)}, "example 1 does not fit.*landmarks"),
        ({"landmarks": np.zeros((68, 2))}, "example 1 does not fit.*landmarks.*float64"),
        ({"expression": "angry"}, "example 1 does not fit.*angry"),
        ({"expression": 3}, "example 1 does not fit.*expression.*3"),
        ({"image": np.zeros((4, 4, 3), np.uint8)}, "image.*encoded bytes"),
        ({"colour": 3}, "example 1 does not fit"),
    ],
)
def test_example_that_does_not_fit(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        _write(tmp_path / "data", {"train": [_example(0), _example(1) | change]})
    assert not (tmp_path / "data").exists()


def test_names_and_empty_splits_are_refused(tmp_path):
    for name, splits in (("My Faces", {"train": Examples(2)}), ("faces", {"train-1": Examples(2)})):
        with pytest.raises(UserError, match="cannot name a data set or split"):
            _write(tmp_path / "data", splits, name=name)
    for empty in ([], iter(()), [records.Skipped("a.jpg", "it is a text file")]):
        with pytest.raises(UserError, match=r"split 'train'.* has no records.*check the source"):
            _write(tmp_path / "data", {"train": empty})


def test_full_disk(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(UserError, match="no space left"):
        _write(tmp_path / "data")


def test_missing_data(tmp_path):
    with pytest.raises(UserError, match=r"no data set at .*nowhere; run python -m data_prep\.faces"):
        records.open_split(tmp_path / "nowhere", "train", hint="run python -m data_prep.faces")
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="photos holds no data set"):
        records.open_split(tmp_path / "photos", "train")
    (tmp_path / "photos" / "dataset_info.json").write_text("{")
    (tmp_path / "photos" / "features.json").write_text("{}")
    with pytest.raises(UserError, match="cannot understand"):
        records.open_split(tmp_path / "photos", "train")
    _write(tmp_path / "data")
    with pytest.raises(UserError, match="no split 'val'; it has train"):
        records.open_split(tmp_path / "data", "val")
    shard = sorted((tmp_path / "data").glob("faces-train*"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard.name} is missing"):
        records.open_split(tmp_path / "data", "train")


@pytest.mark.parametrize("file_format", FORMATS)
def test_flipped_byte_is_an_error_that_names_file_and_record(tmp_path, file_format):
    _write(tmp_path / "data", file_format=file_format)
    source = records.open_split(tmp_path / "data", "train")
    path, _, n = source.where(17).partition(", record ")
    shard = (tmp_path / "data" / path).read_bytes()
    _flip(tmp_path / "data" / path, shard.index(source[17]["image"][-50:]))
    source = records.open_split(tmp_path / "data", "train")
    with pytest.raises(CorruptRecord, match=f"{path}, record {n}: "):
        source[17]
    for i in set(range(len(source))) - {17}:
        source[i]


@pytest.mark.parametrize("file_format", FORMATS)
def test_truncated_shard(tmp_path, file_format):
    _write(tmp_path / "data", file_format=file_format)
    shards = sorted((tmp_path / "data").glob("faces-train*"))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CorruptRecord, match=rf"{shards[1].name}, record \d+: the file is truncated"):
        records.open_split(tmp_path / "data", "train")
    source = records.open_split(tmp_path / "data", "train", skip_corrupt=True)
    assert len(source) == 45
    lost = []
    for i in range(45):
        try:
            source[i]
        except CorruptRecord as error:
            assert source.where(i) in str(error)
            lost.append(shards.index(tmp_path / "data" / source.where(i).partition(",")[0]))
    assert lost and set(lost) == {1}


def test_flipped_length_loses_the_rest_of_its_shard_only(tmp_path):
    _write(tmp_path / "data")
    shard = sorted((tmp_path / "data").glob("faces-train*"))[0]
    _flip(shard, 3)
    with pytest.raises(CorruptRecord, match=f"{shard.name}, record 0: checksum of the length"):
        records.open_split(tmp_path / "data", "train")
    source = records.open_split(tmp_path / "data", "train", skip_corrupt=True)
    lost = tfds.builder_from_directory(tmp_path / "data").info.splits["train"].shard_lengths[0]
    for i in range(lost):
        with pytest.raises(CorruptRecord, match=f"{shard.name}, record {i}: "):
            source[i]
    assert source[lost]["identity"] >= 2**40


def test_record_that_is_no_example(tmp_path):
    _write(tmp_path / "data", {"train": [_example(0)]})
    shard = tmp_path / "data" / "faces-train.tfrecord-00000-of-00001"
    for record in (b"no example", b""):
        shard.write_bytes(tfrecord.frame(record))
        with pytest.raises(CorruptRecord, match=r"record 0: does not match features\.json"):
            records.open_split(tmp_path / "data", "train")[0]


@pytest.mark.parametrize("file_format", FORMATS)
def test_source_can_be_pickled(tmp_path, file_format):
    _write(tmp_path / "data", file_format=file_format)
    source = records.open_split(tmp_path / "data", "train")
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == len(source) and copy.where(30) == source.where(30)
    assert copy[30]["image"] == source[30]["image"]


def test_data_set_written_by_tensorflow(tmp_path):
    """fixtures/tiny_faces was prepared by TFDS 4.9.10 with TensorFlow 2.21, by a GeneratorBasedBuilder that yields:

    for i in range(4):
        yield i, {"image": np.full((4 + i, 6, 3), 40 * i, np.uint8), "label": i % 2, "visible": bool(i % 2),
                  "landmarks": np.full((2, 2), i, np.float32), "name": f"Zoë {i}",
                  "boxes": [tfds.features.BBox(0.0, 0.25, 0.5, 1.0)] * i}
    """
    folder = tmp_path / "tiny_faces"
    shutil.copytree(Path(__file__).parent / "fixtures" / "tiny_faces", folder)
    source = records.open_split(folder, "train")
    assert len(source) == 4 and source.features["label"].names == ["neutral", "happy"]
    for i in range(4):
        record = source[i]
        image = images.decode(record["image"])
        np.testing.assert_array_equal(image, np.full((4 + i, 6, 3), 40 * i))
        assert (record["label"], record["visible"], record["name"]) == (i % 2, i % 2, f"Zoë {i}")
        np.testing.assert_array_equal(record["landmarks"], np.full((2, 2), i, np.float32))
        np.testing.assert_array_equal(record["boxes"], np.tile([[0.0, 0.25, 0.5, 1.0]], (i, 1)))


def test_tensorflow_is_not_imported(tmp_path):
    code = f"""
import sys
import numpy as np
import tensorflow_datasets as tfds
from facejax.data import records
features = {{"image": tfds.features.Image(), "name": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["a"]), "x": tfds.features.Tensor(shape=(2,), dtype=np.float32)}}
example = {{"image": b"abc", "name": "n", "label": "a", "x": [1.0, 2.0]}}
for file_format in ("tfrecord", "array_record"):
    folder = {str(tmp_path)!r} + "/" + file_format
    records.write(folder, records.Info("faces", features), {{"train": [example]}}, records.Shards(file_format))
    assert records.open_split(folder, "train")[0]["image"] == b"abc"
assert "tensorflow" not in sys.modules, "TensorFlow"
assert "jax" not in sys.modules, "JAX"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
