"""State dicts as `torch.save` writes them, without PyTorch: in the zip format, and in the one before PyTorch 1.6."""

import collections
import contextlib
import io
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np

STORAGES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
}


class Tensor:
    """Pickled as PyTorch pickles a tensor; the storage is that of its array, or larger."""

    def __init__(self, key, array, strides=None):
        self.key, self.array = key, array
        self.strides = strides or tuple(stride // array.itemsize for stride in array.strides)

    def __reduce__(self):
        arguments = (Storage(self), 0, self.array.shape, self.strides, False, collections.OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    """Protocol 2; `legacy` storages have one entry more."""

    def __init__(self, stream, legacy=False):
        super().__init__(stream, 2)
        self.legacy = legacy

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        array = thing.tensor.array
        kind = getattr(sys.modules["torch"], STORAGES[array.dtype])
        return ("storage", kind, thing.tensor.key, "cpu", array.size, *([None] if self.legacy else []))


@contextlib.contextmanager
def torch_modules():
    """Modules that stand for PyTorch's while something is pickled."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2():
        raise AssertionError("nothing of the file's may run")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def write_zip(path, content, tensors):
    """`content` with `Tensor`s in it, and the data of these."""
    buffer = io.BytesIO()
    with torch_modules():
        Pickler(buffer).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for tensor in tensors:
            archive.writestr(f"archive/data/{tensor.key}", tensor.array.tobytes(order="A"))
    return path


def write_legacy(path, content, tensors):
    """The same in the format before PyTorch 1.6."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as file, torch_modules():
        for value in (0x1950A86A20F9469CFC6C, 1001, machine):
            pickle.dump(value, file, protocol=2)
        Pickler(file, legacy=True).dump(content)
        pickle.dump([tensor.key for tensor in tensors], file, protocol=2)
        for tensor in tensors:
            file.write(tensor.array.size.to_bytes(8, "little") + tensor.array.tobytes(order="A"))
    return path


FORMATS = {"zip": write_zip, "legacy": write_legacy}


def save(path, arrays, *, format="zip", wrap=lambda state_dict: state_dict):
    """A state dict of NumPy arrays; `wrap` makes a checkpoint of it."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    tensors = {name: Tensor(str(index), array) for index, (name, array) in enumerate(arrays.items())}
    content = wrap(collections.OrderedDict(tensors))
    return FORMATS[format](path, content, list(tensors.values()))
