"""Files of `torch.save`, written here by hand, in both formats: pickles and raw storages."""

import argparse
import collections
import copy
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch_saving
from random_inputs import generator
from torch_saving import Tensor

from facejax.errors import UserError
from facejax.interop import torch_file


@pytest.fixture(params=torch_saving.FORMATS)
def save(tmp_path, request):
    """Function that writes a file in either format."""
    return lambda content, *tensors: torch_saving.FORMATS[request.param](tmp_path / "file.pth", content, tensors)


def test_tensors_and_settings(save):
    rng = generator()
    weight = Tensor("0", rng.normal(size=(3, 4)).astype(np.float32))
    transposed = Tensor("1", np.asfortranarray(rng.normal(size=(2, 5)).astype(np.float32)))
    count = Tensor("2", np.array(7))
    content = {
        "teacher": collections.OrderedDict(weight=weight, transposed=transposed, count=count),
        "args": argparse.Namespace(lr=0.1),
        "epoch": 41,
    }
    found = torch_file.read(save(content, weight, transposed, count))
    assert found["epoch"] == 41 and isinstance(found["args"], torch_file.Unknown)
    for name, tensor in content["teacher"].items():
        np.testing.assert_array_equal(found["teacher"][name], tensor.array)


def test_shapes_only_reads_no_data(save, monkeypatch):
    weight = Tensor("0", np.ones((3, 4), np.float32))
    transposed = Tensor("1", np.asfortranarray(np.ones((2, 5), np.float32)))
    count = Tensor("2", np.array(7))
    path = save({"weight": weight, "transposed": transposed, "count": count}, weight, transposed, count)
    read, names = zipfile.ZipFile.read, []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: names.append(name) or read(self, name))
    found = torch_file.read(path, shapes_only=True)
    assert names in ([], ["archive/data.pkl"])  # the older format is no archive, and read as a whole
    for name, tensor in {"weight": weight, "transposed": transposed, "count": count}.items():
        assert (found[name].shape, found[name].dtype) == (tensor.array.shape, tensor.array.dtype)
    short = Tensor("0", np.ones(3, np.float32), (2,))
    with pytest.raises(UserError, match="reaches beyond its data"):
        torch_file.read(save({"x": short}, short), shapes_only=True)


class Malicious:
    def __reduce__(self):
        return print, ("run!",)


def test_nothing_of_the_file_runs(save, capsys):
    assert isinstance(torch_file.read(save({"x": Malicious()}))["x"], torch_file.Unknown)
    assert capsys.readouterr().out == ""


def test_a_tensor_must_stay_within_its_data(save):
    tensor = Tensor("0", np.zeros(4, np.float32), (2,))
    with pytest.raises(UserError, match="reaches beyond its data"):
        torch_file.read(save({"x": tensor}, tensor))


def test_objects_that_are_not_needed(save):
    """Also those that are dicts, lists or sets themselves, or call what they made."""
    content = {
        "defaults": collections.defaultdict(list, {"a": [1]}),
        "deque": collections.deque([1, 2, 3]),
        "set": {1, 2},
        "bytes": bytearray(b"ab"),
        "where": pathlib.PurePosixPath("a/b"),
        "range": range(3),
    }
    found = torch_file.read(save(content | {"epoch": 3}))
    assert found.pop("epoch") == 3
    assert found.keys() == content.keys() and all(isinstance(x, torch_file.Unknown) for x in found.values())


def pickled(program):
    """A file whose pickle is this program."""

    def write(path, **options):
        with zipfile.ZipFile(path, "w", **options) as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/data/0", bytes(16))
        return path

    return write


def with_headers(change):
    """A file in all of whose local and central headers `change` sets something at its place in the former."""

    def write(path):
        data = bytearray(pickled(b"}.")(path).read_bytes())
        for signature, start in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            for place in re.finditer(signature, bytes(data)):
                change(memoryview(data)[place.start() + start :])
        path.write_bytes(data)

    return write


def encrypted(header):
    header[6] |= 1


def unknown_compression(header):
    header[8] = 77


def overlapping(path):
    """Two entries of the table of contents are the same bytes of the file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"}.")
        archive.writestr("archive/data/0", bytes(1000))
        for key in range(1, 9):
            entry = copy.copy(archive.filelist[-1])
            entry.filename = entry.orig_filename = f"archive/data/{key}"
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry


def storage(kind, key):
    """A program that asks for a storage."""
    return b"(X\x07\0\0\0storage" + kind + b"X" + len(key).to_bytes(4, "little") + key + b"tQ."


def tensor(*arguments):
    """A file with a call of `_rebuild_tensor_v2` on a storage of four floats and what is given."""
    asked = storage(b"ctorch\nFloatStorage\n", b"0")[:-1]
    rest = b"".join(pickle.dumps(x, 2)[2:-1] for x in arguments)
    return pickled(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + asked + rest + b"tR.")


def reduced(*program):
    """A file whose pickle calls something of the interpreter's."""
    return pickled(b"\x80\x04" + b"".join(program) + b".")


def legacy(change):
    """A file of the older format with one tensor of four floats, changed."""

    def write(path):
        tensor = Tensor("0", np.arange(4, dtype=np.float32))
        torch_saving.write_legacy(path, {"x": tensor}, [tensor])
        path.write_bytes(change(path.read_bytes()))

    return write


def replaced(old, new):
    def change(data):
        assert old in data
        return data.replace(old, new)

    return change


REFUSED = {
    "text": (lambda path: path.write_text("not a checkpoint"), "neither a zip file nor"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "no pickle": (lambda path: zipfile.ZipFile(path, "w").close(), "0 entries data.pkl"),
    "encrypted": (with_headers(encrypted), "encrypted"),
    "unknown compression": (with_headers(unknown_compression), "compressed"),
    "a zip bomb": (lambda path: pickled(b"}." + bytes(10**7))(path, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "overlapping entries": (overlapping, "overlap"),
    "no arguments": (tensor(), "_tensor"),
    "an offset that is text": (tensor("0", (2,), (1,)), "malformed tensor"),
    "an offset below 0": (tensor(-1, (2,), (1,)), "malformed tensor"),
    "a shape that is no tuple": (tensor(0, 2, (1,)), "the pickle is damaged"),
    "a shape of floats": (tensor(0, (2.0,), (1,)), "malformed tensor"),
    "a shape below 0": (tensor(0, (-2, -2), (2, 1)), "malformed tensor"),
    "fewer strides than axes": (tensor(0, (2, 2), (1,)), "shorter"),
    "beyond its data": (tensor(0, (2,), (4,)), "reaches beyond its data"),
    "larger than its data": (tensor(0, (10**12,), (0,)), "larger than its data"),
    "a storage elsewhere": (pickled(storage(b"ctorch\nFloatStorage\n", b"../0")), "no item named"),
    "a storage of another kind": (pickled(storage(b"ctorch\nQStorage\n", b"0")), "type that is not read"),
    "a kind as deep as the stack": (pickled(storage(b")" + b"\x85" * 10**6, b"0")), "type that is not read"),
    "a key as deep as the stack": (pickled(b"})" + b"\x85" * 10**6 + b"Ns."), "a tuple as a key"),
    "items of a list": (pickled(b"]K\x00Ns."), "no dict"),
    "the state of a function": (pickled(b"ctorch._utils\n_rebuild_tensor_v2\n}b."), "sets the state"),
    "the state of a class": (pickled(b"cargparse\nNamespace\n}b."), "sets the state"),
    "a memo of gigabytes": (pickled(b"Nr\xff\xff\xff\xff0j\x00\x00\x00\x00."), "the pickle"),
    "an extension code": (pickled(b"\x82\x01."), "not allowed"),
    "a reduce chain": (reduced(b"cbuiltins\ngetattr\n(cos\nsystem\nX\x01\0\0\0xtR(ltR"), "damaged"),
    "an instance of what is known": (reduced(b"(icollections\nOrderedDict\n"), "not allowed"),
    "older: cut off": (legacy(lambda data: data[:-1]), "shorter than its tensor, or cut off"),
    "older: cut off in a pickle": (legacy(lambda data: data[:100]), "the pickle is damaged"),
    "older: a longer storage": (legacy(replaced(b"K\x04N", b"K\x05N")), "shorter than its tensor, or cut off"),
    "older: a shorter storage": (legacy(replaced(b"K\x04N", b"K\x03N")), "larger than its data"),
    "older: a storage of terabytes": (
        legacy(replaced(b"K\x04N", b"\x8a\x06\0\0\0\0\0\x7fN")),
        "storages are larger than the file",
    ),
    "older: a storage below 0": (legacy(replaced(b"K\x04N", b"\x8a\x01\xffN")), "malformed storage"),
    "older: a view of a storage": (legacy(replaced(b"K\x04N", b"K\x04K\x01")), "malformed storage"),
    "older: other keys": (legacy(replaced(b"]q\x00X\x01\0\0\x000", b"]q\x00X\x01\0\0\x001")), "not those of"),
    "older: big-endian": (legacy(replaced(b"\x88X", b"\x89X")), "version of the format"),
    "older: another version": (legacy(replaced(b"M\xe9\x03.", b"M\xea\x03.")), "version of the format"),
    "older: another magic number": (legacy(replaced(b"\x8a\n\x6c", b"\x8a\n\x6d")), "neither a zip file nor"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_torch_save_never_wrote_is_one_line(tmp_path, write, message):
    write(tmp_path / "x.pth")
    with pytest.raises(UserError, match=message) as raised:
        torch_file.read(tmp_path / "x.pth")
    assert "x.pth is not a checkpoint of PyTorch" in str(raised.value) and len(str(raised.value)) < 600


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        torch_file.read(tmp_path / "missing.pth")
    with pytest.raises(UserError, match="directory"):
        torch_file.read(tmp_path)
