"""TFRecord files without TensorFlow: framing, checksums, and the index that makes them randomly accessible.

A record is stored as (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details)

    uint64 length | uint32 masked CRC32C of the length | data | uint32 masked CRC32C of the data

all little endian, without gaps. The file has no table of contents, so the offsets are found by walking from header to
header once, and cached in a file `.NAME.index` next to `NAME`.
"""

import contextlib
import itertools
import os
import struct
from collections.abc import Iterator

import fsspec
import google_crc32c
import numpy as np
from etils import epath

from facejax import files, paths
from facejax.errors import UserError

INDEX_SUFFIX = ".index"
_HEADER = struct.Struct("<QI")  # length and its checksum
_FOOTER = struct.Struct("<I")  # checksum of the data
_INDEX_MAGIC = b"facejax tfrecord index 1"
_INDEX_HEADER = struct.Struct(f"<{len(_INDEX_MAGIC)}sqq")  # magic, size and modification time (ns) of the indexed file
_WINDOW = 1 << 16  # bytes read at once when looking for headers
_WINDOW_AT_URL = 8 << 20


class CorruptRecord(UserError):
    """A record that cannot be read: its checksum is wrong, it is truncated, or its contents cannot be parsed."""


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """`record` as stored in a TFRecord file: length, checksum, data, checksum."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _FOOTER.pack(_masked_crc(length)), record, _FOOTER.pack(_masked_crc(record))))


class RandomAccessFile:
    """Thread-safe reads at an offset: `pread` for a local file, a request for exactly these bytes at a URL."""

    def __init__(self, path: epath.PathLike):
        if paths.is_url(path):
            self._file_system, self._path = fsspec.core.url_to_fs(os.fspath(path))
        else:
            self._file = open(path, "rb", buffering=0)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`, fewer where the file ends."""
        if hasattr(self, "_file"):
            return os.pread(self._file.fileno(), size, offset)
        return self._file_system.cat_file(self._path, start=offset, end=offset + size)

    def __del__(self):
        if hasattr(self, "_file"):
            self._file.close()


def read_record(file: RandomAccessFile, start: int, end: int, where: str) -> bytes:
    """The data of the record that fills the bytes `start` to `end` of `file`; `where` names it in errors.

    Raises:
      CorruptRecord: one of the two checksums is wrong, or the file ends too early.
    """
    framed = file.read(start, end - start)
    if len(framed) < end - start:
        raise CorruptRecord(f"{where}: the file ends inside this record; copy or convert it again")
    length, length_crc = _HEADER.unpack_from(framed)
    data = framed[_HEADER.size : -_FOOTER.size]
    if length_crc != _masked_crc(framed[:8]) or length != len(data):
        raise CorruptRecord(f"{where}: checksum of the length does not match; copy or convert the file again")
    if _FOOTER.unpack_from(framed, len(framed) - _FOOTER.size)[0] != _masked_crc(data):
        raise CorruptRecord(f"{where}: checksum of the data does not match; copy or convert the file again")
    return data


def index(path: epath.PathLike) -> tuple[np.ndarray, str]:
    """The positions of the records in a TFRecord file.

    For an intact file they are cached in `.NAME.index` next to it. The cache is valid while size and modification time
    of the file do not change. If the folder is not writable, nothing is cached.

    Args:
      path: the TFRecord file.

    Returns:
      boundaries: int64 [n + 1]; record i fills the bytes boundaries[i] to boundaries[i + 1]. Headers are verified here,
        data when it is read.
      fault: "" for an intact file, otherwise why the walk stopped after record n - 1.
    """
    path = epath.Path(path)
    size, expected = _size_and_index_header(path)
    try:
        cached = _index_path(path).read_bytes()
        if cached.startswith(expected) and len(cached) % 8 == len(expected) % 8:
            boundaries = np.frombuffer(cached, "<i8", offset=len(expected))
            ends = boundaries.size and boundaries[0] == 0 and boundaries[-1] == size
            if ends and (boundaries[1:] - boundaries[:-1] >= _HEADER.size + _FOOTER.size).all():
                return boundaries, ""
    except OSError:
        pass  # no cache, or not readable: walk the file
    boundaries, fault = _walk(RandomAccessFile(path), size, _WINDOW_AT_URL if paths.is_url(path) else _WINDOW)
    if not fault:
        with contextlib.suppress(UserError, OSError):  # not writable: the index stays in memory
            files.write_atomically(_index_path(path), expected + boundaries.tobytes())
    return boundaries, fault


def intact_records(path: epath.PathLike) -> Iterator[bytes]:
    """The records of a file in their order, up to the first that is cut off or damaged; leaves no index behind.

    For files that are still being written, such as TensorBoard's.
    """
    path, file = epath.Path(path), RandomAccessFile(path)
    boundaries, _ = _walk(file, path.stat().length, _WINDOW_AT_URL if paths.is_url(path) else _WINDOW)
    for start, end in itertools.pairwise(boundaries):
        try:
            yield read_record(file, start, end, str(path))
        except CorruptRecord:
            return


def upload(source: epath.PathLike, target: epath.Path) -> None:
    """Copies a local TFRecord file to a URL, with its index: without it readers would have to read the whole file.

    Raises:
      UserError: the URL cannot be written.
    """
    files.upload(source, target)
    boundaries, _ = index(source)
    _, header = _size_and_index_header(target)
    files.write_atomically(_index_path(target), header + boundaries.tobytes())


def _index_path(path: epath.Path) -> epath.Path:
    return path.parent / f".{path.name}{INDEX_SUFFIX}"


def _size_and_index_header(path: epath.Path) -> tuple[int, bytes]:
    status = path.stat()
    modified = round(status.mtime * 1e9) if paths.is_url(path) else os.stat(path).st_mtime_ns
    return status.length, _INDEX_HEADER.pack(_INDEX_MAGIC, status.length, modified)


def _walk(file: RandomAccessFile, size: int, window_size: int) -> tuple[np.ndarray, str]:
    boundaries, position, window, window_start = [0], 0, b"", 0
    while position < size:
        if not window_start <= position <= window_start + len(window) - _HEADER.size:
            window, window_start = file.read(position, window_size), position
        header = window[position - window_start :][: _HEADER.size]
        if len(header) < _HEADER.size:
            return np.array(boundaries, "<i8"), "the file is truncated"
        length, length_crc = _HEADER.unpack(header)
        if length_crc != _masked_crc(header[:8]):
            return np.array(boundaries, "<i8"), "checksum of the length does not match"
        position += _HEADER.size + length + _FOOTER.size
        if position > size:
            return np.array(boundaries, "<i8"), "the file is truncated"
        boundaries.append(position)
    return np.array(boundaries, "<i8"), ""
