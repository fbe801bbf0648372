"""Reads what `torch.save` wrote, without PyTorch and without running anything that the file says."""

import collections
import io
import math
import pickle
import zipfile

import ml_dtypes
import numpy as np
from etils import epath

from facejax.errors import UserError

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

    def __setstate__(self, _):
        pass


def read(path: epath.PathLike):
    """The object in a file of `torch.save` (PyTorch 1.6 and newer): dicts, lists and numbers, tensors as NumPy arrays.

    Objects of other classes become `Unknown`; no code of theirs runs.

    Raises:
      UserError: there is no such file, or it is not one that `torch.save` wrote whole.
    """
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"there is no file {path}")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return _Unpickler(archive, name).load()
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} is not a checkpoint of PyTorch 1.6 or newer, or is damaged ({error}); an older one has to be "
            "loaded and saved again by a newer PyTorch"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive, name):
        super().__init__(io.BytesIO(archive.read(name)))
        self.archive, self.folder = archive, name.removesuffix("data.pkl")

    def find_class(self, module, name):
        if module.startswith("torch") and name in DTYPES:
            return name
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        return known.get((module, name), Unknown)

    def persistent_load(self, description):
        _, storage, key, *_ = description
        return np.frombuffer(self.archive.read(f"{self.folder}data/{key}"), DTYPES[storage])


def _tensor(storage, offset, shape, strides, *_):
    if math.prod(shape) == 0:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if min(offset, *strides, 0) < 0 or last >= len(storage):
        raise ValueError("a tensor reaches beyond its data")
    strides = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)
