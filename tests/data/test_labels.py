"""Labels of a split: what is read, and when."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from random_inputs import generator

from facejax.data import labels, records
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError

KEY = "config.data.label"


@pytest.fixture
def written(tmp_path):
    """Identity and video of 100 records, and the folder that holds them."""
    rng = generator()
    columns = rng.integers(-3, 9, 100), rng.choice(["a", "b", "c"], 100)
    features = {"identity": np.int64, "video": tfds.features.Text(), "score": np.float32}
    rows = [{"identity": i, "video": v, "score": 0.5} for i, v in zip(*columns, strict=True)]
    records.write(tmp_path / "faces", records.Info("faces", features), {"train": rows})
    return columns, tmp_path / "faces"


def assert_labels(found, columns, indices):
    np.testing.assert_array_equal(found[0], indices)
    for column, wanted in zip(found[1], columns, strict=True):
        np.testing.assert_array_equal(column, wanted[indices])


def test_labels_are_read_once(written, monkeypatch):
    columns, folder = written
    source = records.open_split(folder, "train")
    assert_labels(labels.read(source, ("identity", "video"), key=KEY), columns, np.arange(100))
    monkeypatch.setattr(records.RecordSource, "__getitem__", None)  # whoever reads a record now fails
    assert_labels(labels.read(source, ("identity", "video"), key=KEY), columns, np.arange(100))


def test_a_damaged_cache_is_made_anew(written):
    columns, folder = written
    source = records.open_split(folder, "train")
    labels.read(source, ("identity",), key=KEY)
    cache = folder / ".train.identity.npz"
    damages = (
        lambda content: content[:-30],
        lambda content: b"",
        lambda content: b"no archive",
        lambda content: content[:50] + b"\xff" * 50 + content[100:],
        lambda content: npz(np.zeros(100)),
        lambda content: npz(np.zeros((100, 2), np.int64)),
        lambda content: npz(np.array([Trace(folder / "run")] * 100)),
    )
    for damage in damages:
        cache.write_bytes(damage(cache.read_bytes()))
        assert_labels(labels.read(source, ("identity",), key=KEY), columns[:1], np.arange(100))
    assert not (folder / "run").exists()


class Trace:
    """Would make a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def npz(identity):
    buffer = io.BytesIO()
    np.savez(buffer, identity=identity)
    return buffer.getvalue()


def test_labels_live_in_memory_where_they_cannot_be_kept(written):
    columns, folder = written
    (folder / ".train.identity.npz").mkdir()  # nothing can be renamed to this
    source = records.open_split(folder, "train")
    assert_labels(labels.read(source, ("identity",), key=KEY), columns[:1], np.arange(100))
    assert not list(folder.glob("*.partial"))


def test_corrupt_records_are_left_out_if_asked_for(written):
    columns, folder = written
    (shard,) = folder.glob("*.tfrecord*")
    source = records.open_split(folder, "train")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptRecord, match="checksum"):
        labels.read(source, ("identity",), key=KEY)
    found = labels.read(source, ("identity",), key=KEY, skip_corrupt=True)
    assert len(found[0]) == 99
    assert_labels(found, columns[:1], found[0])
    assert not (folder / ".train.identity.npz").exists()


@pytest.mark.parametrize("field", ["person", "score"])
def test_unsuitable_field(written, field):
    source = records.open_split(written[1], "train")
    with pytest.raises(UserError, match=f"{KEY}: .* no field '{field}'.*identity, score, video"):
        labels.read(source, ("identity", field), key=KEY)
