"""A shared data set cannot execute code, read other files, or cause a traceback."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from facejax.data import records
from facejax.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "tiny_faces"
TFDS = "tensorflow_datasets.core.features."


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "faces")
    return tmp_path / "faces"


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported."""
    modules, trace = tmp_path / "modules", tmp_path / "imported"
    modules.mkdir()
    (modules / "canary.py").write_text(f"open({str(trace)!r}, 'w')\n")
    monkeypatch.syspath_prepend(modules)
    yield trace
    sys.modules.pop("canary", None)


def change(folder, name, edit):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(edit(content)))


def field(**feature):
    """An edit of `features.json` that puts another feature in the place of `label`."""

    def edit(content):
        content["featuresDict"]["features"]["label"] = feature
        return content

    return edit


CANARY = {"pythonClassName": "canary.Canary", "text": {}}
IMPORTS = {
    "a field's class": field(**CANARY),
    "a class in a sequence": field(
        pythonClassName=f"{TFDS}sequence_feature.Sequence", sequence={"feature": CANARY, "length": 2}
    ),
    "a class in a dict": field(
        pythonClassName=f"{TFDS}features_dict.FeaturesDict", featuresDict={"features": {"x": CANARY}}
    ),
    "the class of all": lambda content: {**content, "pythonClassName": "canary.Canary"},
    "JSON in JSON": field(
        pythonClassName=f"{TFDS}features_dict.FeaturesDict",
        jsonFeature={"json": json.dumps({"x": {"type": "canary.Canary", "content": {}}})},
    ),
    "the old format": lambda content: {"type": "canary.Canary", "content": {}},
    "a dict of the old format": lambda content: {
        "type": f"{TFDS}features_dict.FeaturesDict", "content": {"x": {"type": "canary.Canary", "content": {}}}
    },
}  # fmt: skip


@pytest.mark.parametrize("edit", IMPORTS.values(), ids=IMPORTS)
def test_no_module_is_imported_that_features_name(folder, canary, edit):
    change(folder, "features.json", edit)
    for read in (records.num_records, lambda folder: records.open_split(folder, "train")):
        with pytest.raises(UserError, match=r"cannot understand .*features\.json: "):
            read(folder)
    assert not canary.exists()
    with pytest.raises(Exception):  # noqa: B017  the module has no such class
        tfds.builder_from_directory(folder)
    assert canary.exists()  # the attack is a real one


def test_no_module_is_imported_that_the_data_set_names(folder, canary):
    change(folder, "dataset_info.json", lambda content: {**content, "moduleName": "canary", "configName": "canary"})
    assert len(records.open_split(folder, "train")) == 4
    assert not canary.exists()


def split(**values):
    def edit(content):
        content["splits"][0].update(values)
        return content

    return edit


def scalar(dtype="int64", shape=()):
    tensor = {"dtype": dtype, "encoding": "none", "shape": {"dimensions": list(shape)}}
    return field(pythonClassName=f"{TFDS}tensor_feature.Tensor", tensor=tensor)


REFUSED = {
    "names from a file": ("features.json", field(
        pythonClassName=f"{TFDS}class_label_feature.ClassLabel", jsonFeature={"json": '{"names_file": "/etc/passwd"}'}
    ), "described by json_feature"),
    "video": ("features.json", field(
        pythonClassName=f"{TFDS}video_feature.Video", video={"ffmpegExtraArgs": ["-f", "x"]}
    ), "facejax reads BBoxFeature"),
    "no class": ("features.json", lambda content: {}, "described by None"),
    "a list": ("features.json", lambda content: [1], "features"),
    "a field that leads out": ("features.json", lambda content: {**content, "featuresDict": {"features": {
        "../../label": content["featuresDict"]["features"]["label"]}}}, "cannot name a field"),
    "TensorFlow's types": ("features.json", scalar("qint8"), "unknown dtype 'qint8'"),
    "no type": ("features.json", scalar(""), "unknown dtype ''"),
    "a shape too large": ("features.json", scalar(shape=(2**20, 2**20)), "larger than a record"),
    "a negative size": ("features.json", scalar(shape=(-7,)), "Unexpected shape"),
    "too many classes": ("features.json", field(
        pythonClassName=f"{TFDS}class_label_feature.ClassLabel", classLabel={"numClasses": 10**12}
    ), "more than 100000000"),
    "nested deeply": (
        "features.json", lambda content: json.loads('{"sequence": {"feature": ' * 90 + "{}" + "}}" * 90), "parse"
    ),
    "a data set that leads out": (
        "dataset_info.json", lambda content: {**content, "name": "../x"}, "not in the folder"
    ),
    "a split that leads out": ("dataset_info.json", split(name="../train"), "cannot name a split"),
    "shards elsewhere": ("dataset_info.json", split(filepathTemplate="/etc/passwd"), "not in the folder"),
    "shards above": ("dataset_info.json", split(filepathTemplate="../{SPLIT}"), "not in the folder"),
    "shards of the network": ("dataset_info.json", split(filepathTemplate="gs://b/{SPLIT}"), "not in the folder"),
    "a format that asks": ("dataset_info.json", split(filepathTemplate="{SPLIT.__class__}"), "template"),
    "a format that swells": ("dataset_info.json", split(filepathTemplate="{SPLIT:>9999999999}"), "template"),
    "half a format": ("dataset_info.json", split(filepathTemplate="{SPLIT"), "dataset_info"),
    "fewer records than none": ("dataset_info.json", split(shardLengths=["-1"]), "impossible shard lengths"),
    "more records than can be": ("dataset_info.json", split(shardLengths=[str(2**62)] * 3), "impossible shard lengths"),
    "text for numbers": ("dataset_info.json", split(shardLengths=["four"]), "dataset_info"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "edit", "message"), REFUSED.values(), ids=REFUSED)
def test_damaged_metadata_is_one_line(folder, name, edit, message):
    change(folder, name, edit)
    with pytest.raises(UserError, match=message) as raised:
        records.open_split(folder, "train")
    assert str(folder / name) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": "\\ud800"}', b"null", b"1e999"])
def test_files_that_are_no_json_objects(folder, content):
    for name in ("features.json", "dataset_info.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=f"cannot understand .*{name}"):
            records.open_split(folder, "train")
        (folder / name).write_bytes(whole)


def test_shards_may_lie_in_folders_of_the_data_set(folder):
    (folder / "train").mkdir()
    (folder / "tiny_faces-train.tfrecord-00000-of-00001").rename(folder / "train" / "data.tfrecord-00000")
    change(folder, "dataset_info.json", split(filepathTemplate="{SPLIT}/data.{FILEFORMAT}-{SHARD_INDEX}"))
    assert records.open_split(folder, "train")[3]["name"] == "Zoë 3"


def test_names_of_classes_are_read(folder):
    assert records.open_split(folder, "train").features["label"].names == ["neutral", "happy"]
