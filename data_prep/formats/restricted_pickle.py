"""Reads pickles of lists, numbers, bytes and NumPy arrays without running anything that the file says.

For files such as InsightFace's `.bin`. A pickle is a program for a small stack machine; this reader knows only the
instructions that build plain values, and the only "functions" that it calls are the ones in `_CONSTRUCTORS`, all its
own. Pickles of Python 2 and 3, protocols 0 to 5.
"""

import io
import math
import pickle
import re

import numpy as np

_OPCODES = """PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4
FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE
SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GET BINGET
LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE""".split()  # BUILD: see `_Reader`


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


class _Reader(pickle._Unpickler):
    """The unpickler in Python: unlike the one in C it can be told which instructions there are.

    Its memo is a dict besides, so that a huge index in the file reserves no memory.
    """

    dispatch = {  # noqa: RUF012
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _OPCODES
    }

    def find_class(self, module, name):
        if (module, name) not in _CONSTRUCTORS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image data do not need")
        return _CONSTRUCTORS[module, name]

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
    try:
        return _Reader(io.BytesIO(data), encoding="bytes").load()
    except KeyError as error:
        raise ValueError(f"the pickle has an instruction or a reference that is not allowed ({error!s:.20})") from error
    except Exception as error:  # whatever the stack machine stumbles over in a file made to deceive
        reason = str(error)[:200] or type(error).__name__
        raise ValueError(f"the pickle is damaged or not allowed: {reason}") from error
