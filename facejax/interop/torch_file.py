"""Reads what `torch.save` wrote, without PyTorch and without running anything that the file says."""

import collections
import functools
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


class Unknown:
    """Stands for an object of a class that is not needed, such as the settings of the run (`argparse.Namespace`)."""

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
    """The object in a file of `torch.save` (PyTorch 1.6 and newer): dicts, lists and numbers, tensors as NumPy arrays.

    Objects of other classes become `Unknown`; no code of theirs runs.

    Args:
      path: the file.
      shapes_only: leave the tensors' data unread; the arrays have their shapes and types, and hold zeros that take no
        memory.

    Raises:
      UserError: there is no such file, or it is not one that `torch.save` wrote whole.
    """
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"there is no file {path}")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_entries(archive, path.stat().length)
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(names) != 1:
                raise ValueError(f"it has {len(names)} entries data.pkl")
            return _Unpickler(archive, names[0], shapes_only).load()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a checkpoint of PyTorch 1.6 or newer, or is damaged ({error!s:.200}); load an older one "
            "and save it again with a newer PyTorch"
        ) from error


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses what `torch.save` never writes, and with it archives that swell when they are read."""
    for entry in archive.infolist():
        if entry.flag_bits & 1:
            raise ValueError("it is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it is compressed, which torch.save does not do")
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise ValueError("its entries overlap")


class _Unpickler(RestrictedUnpickler):
    dispatch: ClassVar = RestrictedUnpickler.dispatch | instructions("EMPTY_DICT", "BINPERSID", "NEWOBJ", "NEWOBJ_EX")

    def __init__(self, archive: zipfile.ZipFile, name: str, shapes_only: bool):
        super().__init__(archive.read(name))
        self._archive, self._folder, self._shapes_only = archive, name.removesuffix("data.pkl"), shapes_only
        self._storage = functools.cache(self._read_storage)

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
        kind, storage, key, *_ = pid
        if kind != "storage" or not isinstance(storage, str) or storage not in DTYPES or not isinstance(key, str):
            raise ValueError("tensors of a type that is not read")
        return self._storage(storage, key)

    def _read_storage(self, storage: str, key: str) -> np.ndarray:
        name, dtype = f"{self._folder}data/{key}", np.dtype(DTYPES[storage])
        if self._shapes_only:
            return np.broadcast_to(np.zeros((), dtype), self._archive.getinfo(name).file_size // dtype.itemsize)
        return np.frombuffer(self._archive.read(name), dtype)

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
