"""Files of `torch.save`, written here by hand: the format is a zip of a pickle and of raw storages."""

import argparse
import collections
import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from facejax.errors import UserError
from facejax.interop import torch_file


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, key, array, storage, strides=None):
        self.key, self.array, self.storage = key, array, storage
        self.strides = strides or tuple(stride // array.itemsize for stride in array.strides)

    def __reduce__(self):
        arguments = (self, 0, self.array.shape, self.strides, False, collections.OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (Storage(self), *arguments[1:])


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            kind = getattr(sys.modules["torch"], thing.tensor.storage)
            return ("storage", kind, thing.tensor.key, "cpu", thing.tensor.array.size)
        return None


@pytest.fixture
def save(tmp_path, monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
        getattr(torch, name).__qualname__ = name

    def _rebuild_tensor_v2():
        raise AssertionError("nothing of the file's may run")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(content, *tensors):
        path, buffer = tmp_path / "file.pth", io.BytesIO()
        Pickler(buffer, protocol=2).dump(content)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", buffer.getvalue())
            for tensor in tensors:
                archive.writestr(f"archive/data/{tensor.key}", tensor.array.tobytes(order="A"))
        return path

    return write


def test_tensors_and_settings(save):
    rng = np.random.default_rng()
    weight = Tensor("0", rng.normal(size=(3, 4)).astype(np.float32), "FloatStorage")
    transposed = Tensor("1", np.asfortranarray(rng.normal(size=(2, 5)).astype(np.float32)), "FloatStorage")
    count = Tensor("2", np.array(7), "LongStorage")
    content = {
        "teacher": collections.OrderedDict(weight=weight, transposed=transposed, count=count),
        "args": argparse.Namespace(lr=0.1),
        "epoch": 41,
    }
    found = torch_file.read(save(content, weight, transposed, count))
    assert found["epoch"] == 41 and isinstance(found["args"], torch_file.Unknown)
    for name, tensor in content["teacher"].items():
        np.testing.assert_array_equal(found["teacher"][name], tensor.array)


class Malicious:
    def __reduce__(self):
        return print, ("run!",)


def test_nothing_of_the_file_runs(save, capsys):
    assert isinstance(torch_file.read(save({"x": Malicious()}))["x"], torch_file.Unknown)
    assert capsys.readouterr().out == ""


def test_a_tensor_must_stay_within_its_data(save):
    tensor = Tensor("0", np.zeros(4, np.float32), "FloatStorage", strides=(2,))
    with pytest.raises(UserError, match="reaches beyond its data"):
        torch_file.read(save({"x": tensor}, tensor))


def test_errors(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        torch_file.read(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(UserError, match=r"text\.pth is not a checkpoint of PyTorch 1\.6"):
        torch_file.read(tmp_path / "text.pth")
