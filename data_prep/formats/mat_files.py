"""Reads arrays of numbers from MATLAB files (.mat, versions 5 to 7): nothing is executed, and every length is checked.

SciPy also reads these files, but a damaged one can crash it and the process.

Source: MathWorks, MAT-File Format (https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf).
"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC_CLASSES = range(6, 16)  # double, single, int8, ..., uint64; others are cells, structures, text, ...
_COMPLEX = 0x0800
_MAX_UNPACKED = 16 << 20  # bytes; real files have a few kilobytes


def read(data: bytes, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays called `names`, as float64 in MATLAB's shape.

    Raises:
      ValueError: not such a file, truncated, damaged, huge when unpacked, or an array is missing or not real numbers.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or struct.unpack(f"{order}H", data[124:126])[0] != 0x0100:
        raise ValueError("not a MATLAB file of version 5 to 7")
    found: dict[str, np.ndarray | None] = {}
    left = _MAX_UNPACKED
    for kind, content in _elements(data[128:], order):
        if kind == _COMPRESSED:
            content = _unpack(content, left)
            left -= len(content)
            kind, content = next(_elements(content, order), (0, b""))
        if kind == _MATRIX:
            found |= _matrix(content, order, names)
    for name in names:
        if name not in found:
            raise ValueError(f"has no array {name}")
        if found[name] is None:
            raise ValueError(f"{name} is not an array of real numbers")
    return {name: found[name] for name in names}


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element; a content of up to 4 bytes may be written with its length next to its type."""
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise ValueError("truncated or damaged")
        kind, size = struct.unpack_from(f"{order}II", data, position)
        start, end = position + 8, position + 8 + size
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = position + 4, position + 4 + size
            if size > 4:
                raise ValueError("damaged: a short element of more than 4 bytes")
            position += 8
        else:
            position = end if kind == _COMPRESSED else end + -size % 8
        if end > len(data):
            raise ValueError("truncated or damaged")
        yield kind, data[start:end]


def _unpack(content: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(content, limit)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"unpacks to more than {_MAX_UNPACKED} bytes")
    if not unpacker.eof:
        raise ValueError("truncated or damaged")
    return unpacked


def _matrix(content: bytes, order: str, names: tuple[str, ...]) -> dict[str, np.ndarray | None]:
    """Name and value of a matrix, if it is one of `names`; None if it is not of real numbers."""
    parts = _elements(content, order)
    (_, flags), (_, shape), (_, name), (kind, numbers) = (next(parts, (0, b"")) for _ in range(4))
    if name not in [wanted.encode() for wanted in names] or len(flags) != 8 or len(shape) % 4:
        return {}
    flag = struct.unpack_from(f"{order}I", flags)[0]
    if flag & 0xFF not in _NUMERIC_CLASSES or flag & _COMPLEX or kind not in _TYPES:
        return {name.decode(): None}
    shape = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    dtype = np.dtype(_TYPES[kind]).newbyteorder(order)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"damaged: {name.decode()} has a number of values that does not fit its shape")
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return {name.decode(): np.frombuffer(numbers, dtype).astype(np.float64).reshape(shape, order="F")}
