"""TFRecord framing, its checksums and its index."""

import itertools
import os
import struct

import numpy as np
import pytest

from facejax.data import tfrecord

SIZES = [0, 1, 12, 5000, 0, 200_000, 17]


def _crc32c(data: bytes) -> int:
    """CRC32C bit by bit, from its polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.fixture
def shard(tmp_path):
    records = [os.urandom(size) for size in SIZES]
    path = tmp_path / "faces-train.tfrecord-00000-of-00001"
    path.write_bytes(b"".join(map(tfrecord.frame, records)))
    return path, records


def _read_all(path):
    boundaries, fault = tfrecord.index(path)
    file = tfrecord.RandomAccessFile(path)
    records = [tfrecord.read_record(file, int(a), int(b), "here") for a, b in itertools.pairwise(boundaries)]
    return records, fault


def test_frame_is_length_and_masked_checksums():
    assert _crc32c(b"123456789") == 0xE3069283  # the check value of CRC32C
    record = os.urandom(100)

    def masked(data):
        crc = _crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", 100)
    assert tfrecord.frame(record) == length + masked(length) + record + masked(record)


def test_records_are_found_with_and_without_the_cached_index(shard):
    path, records = shard
    assert _read_all(path) == (records, "")
    cache = path.parent / f".{path.name}.index"
    assert cache.exists()
    assert _read_all(path) == (records, "")


def test_cached_index_is_believed_only_for_the_same_file(shard):
    path, records = shard
    first = tfrecord.index(path)[0]
    cache = path.parent / f".{path.name}.index"
    marked = np.array(first)
    marked[3] += 4
    header = len(cache.read_bytes()) - first.nbytes
    cache.write_bytes(cache.read_bytes()[:header] + marked.tobytes())
    np.testing.assert_array_equal(tfrecord.index(path)[0], marked)  # read, not walked again
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    np.testing.assert_array_equal(tfrecord.index(path)[0], first)
    path.write_bytes(path.read_bytes() + tfrecord.frame(b"more"))
    assert _read_all(path)[0] == [*records, b"more"]
    whole = cache.read_bytes()
    order = np.frombuffer(whole, "<i8", offset=header)
    backwards = np.concatenate([order[:1], order[2:0:-1], order[3:]]).tobytes()
    for damaged in (whole[:-8], whole[:-3], whole[:header], whole[:header] + backwards):
        cache.write_bytes(damaged)
        assert _read_all(path)[0] == [*records, b"more"]


def test_index_stays_in_memory_where_it_cannot_be_kept(shard):
    path, records = shard
    cache = path.parent / f".{path.name}.index"
    cache.mkdir()  # nothing can be renamed to this
    assert _read_all(path) == (records, "")
    assert sorted(os.listdir(path.parent)) == [cache.name, path.name]


def test_every_flipped_bit_is_found(tmp_path):
    framed = tfrecord.frame(b"some data")
    path = tmp_path / "shard"
    for bit in range(8 * len(framed)):
        damaged = bytearray(framed)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(tfrecord.CorruptRecord, match="here: checksum of the"):
            tfrecord.read_record(tfrecord.RandomAccessFile(path), 0, len(framed), "here")


def test_truncated_file_has_the_records_before_the_cut(shard):
    path, records = shard
    whole = path.read_bytes()
    starts = np.cumsum([0, *(size + 16 for size in SIZES)])
    for cut in (1, 5, 40, 60_000, len(whole) - 3):
        path.write_bytes(whole[:-cut])
        found, fault = _read_all(path)
        assert fault == "the file is truncated"
        assert found == records[: int(np.searchsorted(starts, len(whole) - cut, side="right")) - 1]
        assert not (path.parent / f".{path.name}.index").exists()
