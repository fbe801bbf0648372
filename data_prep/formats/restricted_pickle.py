"""Reads pickles of lists, numbers, bytes and NumPy arrays without running anything that the file says.

For files such as InsightFace's `.bin`, of Python 2 and 3, protocols 0 to 5. The only "functions" that are called are
those in `_CONSTRUCTORS`, all of them here.
"""

import io
import math
import pickle
import re

import numpy as np

from facejax.interop.unpickling import RestrictedUnpickler


class Array:
    """Stands for a `numpy.ndarray` of the pickle; `value` is the array."""

    value: np.ndarray | None = None

    def set_state(self, state) -> None:
        """Takes what `numpy.ndarray.__reduce__` gives: version, shape, dtype, Fortran order, bytes."""
        _, shape, dtype, fortran, data = state
        self.value = _from_buffer(data, dtype, shape, "F" if fortran else "C").value


class _DType:
    def __init__(self, name, *_):
        name = name.decode() if isinstance(name, bytes) else name
        if not re.fullmatch(r"[|<>=]?[biuf][1248]", name):
            raise ValueError(f"arrays of type {name} are not read")
        self.value = np.dtype(name)

    def set_state(self, state) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(order)


def _from_buffer(data, dtype, shape, order) -> Array:
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("an array whose shape is not a tuple of lengths")
    if math.prod(shape) * dtype.value.itemsize != len(data):
        raise ValueError("an array with more or fewer bytes than its shape says")
    array = Array()
    array.value = np.frombuffer(data, dtype.value).reshape(shape, order="F" if order in ("F", b"F") else "C")
    return array


def _encode(text, encoding) -> bytes:
    """Bytes as Python 3 writes them in protocols 0 to 2."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError("bytes in an encoding that is not latin1")
    return text.encode("latin1")


_CONSTRUCTORS = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): lambda: b"",
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    _CONSTRUCTORS |= {
        (f"{_core}.multiarray", "_reconstruct"): lambda *_: Array(),
        (f"{_core}.multiarray", "scalar"): lambda dtype, data: _from_buffer(data, dtype, (1,), "C").value[0].item(),
        (f"{_core}.numeric", "_frombuffer"): _from_buffer,
    }


class _Reader(RestrictedUnpickler):
    constructors = _CONSTRUCTORS
    dispatch = dict(RestrictedUnpickler.dispatch)  # noqa: RUF012

    def _build(self):
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (Array, _DType)):
            raise pickle.UnpicklingError("it sets the state of something that is not an array")
        self.stack[-1].set_state(state)

    dispatch[pickle.BUILD[0]] = _build


def loads(data: bytes):
    """The value in a pickle: lists, tuples, numbers, text, bytes, and `Array` for NumPy's arrays.

    Strings of Python 2 are bytes.

    Raises:
      ValueError: the pickle is damaged, or asks for anything else.
    """
    return _Reader(io.BytesIO(data), encoding="bytes").load()
