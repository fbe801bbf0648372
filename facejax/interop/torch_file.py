"""Reads files of `torch.save`, without PyTorch and without executing anything in them."""

import collections
import io
import math
import pickle
import zipfile
from typing import ClassVar

import ml_dtypes
import numpy as np
from etils import epath

from facejax.errors import UserError
from facejax.interop.unpickling import RestrictedUnpickler, instructions

DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the format before PyTorch 1.6
MAX_LEGACY = 8 << 30  # bytes; files of that time are far smaller


class Unknown:
    """Replaces an object of a class that is not needed, such as the settings of the run (`argparse.Namespace`)."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        """What a method of it gives is not needed either."""
        return self

    def __setitem__(self, *_):
        pass

    def append(self, *_):
        """Nor is what it contains."""

    extend = append


def read(path: epath.PathLike, *, shapes_only: bool = False):
    """The object in a file of `torch.save`: dicts, lists and numbers, tensors as NumPy arrays.

    It is in the zip format of PyTorch 1.6 and newer, or in the one before.

    Objects of other classes become `Unknown`; their code is not executed.

    Args:
      path: the file.
      shapes_only: do not read the tensors' data, if the format allows it; the arrays have their shapes and types, and
        contain zeros that take no memory.

    Raises:
      UserError: there is no such file, or it is not one that `torch.save` wrote whole.
    """
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            read_format = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            file.seek(0)
            return read_format(file, path.stat().length, shapes_only)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path} is not a checkpoint of PyTorch, or is damaged ({error!s:.200})") from error


def _read_zip(file, size: int, shapes_only: bool):
    """What PyTorch writes since 1.6: an archive of one pickle and of raw storages."""
    with zipfile.ZipFile(file) as archive:
        _check_entries(archive, size)
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ValueError(f"it has {len(names)} entries data.pkl")
        return _ZipUnpickler(archive, names[0], shapes_only).load()


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses archives that `torch.save` never writes, including those that expand when they are read."""
    for entry in archive.infolist():
        if entry.flag_bits & 1:
            raise ValueError("it is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it is compressed, which torch.save does not do")
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise ValueError("its entries overlap")


def _read_legacy(file, size: int, shapes_only: bool):
    """What PyTorch before 1.6 wrote: pickles of a magic number, a version, the machine, the object and the keys of its
    storages, then for each of these its length and its raw data.
    """
    if not 0 < size <= MAX_LEGACY:
        raise ValueError("it is empty" if not size else "too large for the format that PyTorch had before 1.6")
    stream = io.BytesIO(file.read())
    if not stream.getvalue().startswith(b"\x80") or _PlainUnpickler(stream).load() != MAGIC:
        raise ValueError("it is neither a zip file nor of the format before PyTorch 1.6")
    version, machine = (_PlainUnpickler(stream).load() for _ in range(2))
    if version != 1001 or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("a version of the format that is not read")
    unpickler = _LegacyUnpickler(stream, size)
    content, keys = unpickler.load(), _PlainUnpickler(stream).load()
    unpickler.fill(stream, keys, shapes_only)
    return content


class _Unpickler(RestrictedUnpickler):
    """Makes tensors of storages, which subclasses have in different places."""

    dispatch: ClassVar = RestrictedUnpickler.dispatch | instructions("EMPTY_DICT", "BINPERSID", "NEWOBJ", "NEWOBJ_EX")

    def find_class(self, module, name):
        if module.startswith("torch") and name in DTYPES:
            return name
        known = {
            ("collections", "OrderedDict"): lambda: collections.OrderedDict(),
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        return known.get((module, name), Unknown)

    def persistent_load(self, pid):
        kind, storage, key, *rest = pid
        if kind != "storage" or not isinstance(storage, str) or storage not in DTYPES or not isinstance(key, str):
            raise ValueError("tensors of a type that is not read")
        return self.storage(key, np.dtype(DTYPES[storage]), *rest)

    def _setitems(self):
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def _set(self, key, value):
        # no tuples: Python's hash of one that is nested a million times overflows the stack
        if not isinstance(key, (str, int, float, bytes, Unknown, type(None))):
            raise pickle.UnpicklingError(f"a dict has a {type(key).__name__} as a key")
        if not isinstance(self.stack[-1], (dict, Unknown)):
            raise pickle.UnpicklingError("it sets items of something that is no dict")
        self.stack[-1][key] = value

    def _build(self):
        self.stack.pop()  # no object's state is needed, such as the `_metadata` of a state dict
        if not isinstance(self.stack[-1], (Unknown, collections.OrderedDict)):
            raise pickle.UnpicklingError("it sets the state of something that has none")

    def _unneeded(self):
        self.append(Unknown())

    def _unneeded_items(self):
        self.pop_mark()

    def _unneeded_frozenset(self):
        self.pop_mark()
        self.append(Unknown())

    dispatch.update(
        {
            pickle.SETITEMS[0]: _setitems,
            pickle.SETITEM[0]: _setitem,
            pickle.BUILD[0]: _build,
            pickle.EMPTY_SET[0]: _unneeded,
            pickle.ADDITEMS[0]: _unneeded_items,
            pickle.FROZENSET[0]: _unneeded_frozenset,
        }
    )


class _PlainUnpickler(_Unpickler):
    """Of a pickle that holds no tensors."""

    def storage(self, *_):
        raise ValueError("a tensor where there is none")


class _ZipUnpickler(_Unpickler):
    def __init__(self, archive: zipfile.ZipFile, name: str, shapes_only: bool):
        super().__init__(io.BytesIO(archive.read(name)))
        self._archive, self._folder, self._shapes_only = archive, name.removesuffix("data.pkl"), shapes_only
        self._storages: dict = {}

    def storage(self, key: str, dtype: np.dtype, *_) -> np.ndarray:
        if (key, dtype) not in self._storages:
            self._storages[key, dtype] = self._read(f"{self._folder}data/{key}", dtype)
        return self._storages[key, dtype]

    def _read(self, name: str, dtype: np.dtype) -> np.ndarray:
        if self._shapes_only:
            return np.broadcast_to(np.zeros((), dtype), self._archive.getinfo(name).file_size // dtype.itemsize)
        return np.frombuffer(self._archive.read(name), dtype)


class _LegacyUnpickler(_Unpickler):
    def __init__(self, stream: io.BytesIO, size: int):
        super().__init__(stream)
        self._storages: dict[str, np.ndarray] = {}
        self._left = size

    def storage(self, key: str, dtype: np.dtype, location, count, view=None) -> np.ndarray:
        if view is not None or type(count) is not int or count < 0:
            raise ValueError("a malformed storage")
        if key not in self._storages:
            self._left -= count * dtype.itemsize
            if self._left < 0:
                raise ValueError("storages are larger than the file")
            self._storages[key] = np.zeros(count, dtype)  # filled when the file has come to it
        if (self._storages[key].dtype, len(self._storages[key])) != (dtype, count):
            raise ValueError("a storage of two types or lengths")
        return self._storages[key]

    def fill(self, stream: io.BytesIO, keys, shapes_only: bool) -> None:
        """Reads the data of all storages, which follow in the order of `keys`."""
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self._storages):
            raise ValueError("its storages are not those of its tensors")
        for key in () if shapes_only else keys:
            storage = self._storages[key]
            count, data = int.from_bytes(stream.read(8), "little"), stream.read(storage.nbytes)
            if count != len(storage) or len(data) != storage.nbytes:
                raise ValueError("a storage is shorter than its tensor, or cut off")
            storage[:] = np.frombuffer(data, storage.dtype)


def _tensor(storage, offset, shape, strides, *_):
    lengths = (offset, *shape, *strides)
    if not isinstance(storage, np.ndarray) or not all(type(n) is int and n >= 0 for n in lengths):
        raise ValueError("a malformed tensor")
    if math.prod(shape) > len(storage):
        raise ValueError("a tensor is larger than its data")
    if math.prod(shape) == 0:
        return np.zeros(shape, storage.dtype)
    if offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) >= len(storage):
        raise ValueError("a tensor reaches beyond its data")
    strides = [stride * storage.strides[0] for stride in strides]  # 0 where only shapes are read
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)
