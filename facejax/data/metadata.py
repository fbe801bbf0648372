"""The two JSON files that describe a data set in TFDS layout, read as untrusted input.

`tfds.builder_from_directory` imports the module that a feature in `features.json` names, opens the files that it names,
and formats the template of shard names in `dataset_info.json`. Here a feature must be of a class in `_CONTENT`, a
template may contain only TFDS' own fields, and shards must be in the data set's folder.
"""

import contextlib
import dataclasses
import json
import math
import re
import string
import sys
from collections.abc import Iterator

import tensorflow_datasets as tfds
from etils import epath
from google.protobuf import json_format
from tensorflow_datasets.core.naming import ShardedFileTemplate
from tensorflow_datasets.core.proto import dataset_info_pb2, feature_pb2

from facejax.errors import UserError

# Supported feature classes, and the kind of content that describes each. `json_feature` is excluded: its keys become
# arguments of the class, some of which name files.
_CONTENT = {
    tfds.features.FeaturesDict: "features_dict",
    tfds.features.Image: "image",
    tfds.features.Text: "text",
    tfds.features.ClassLabel: "class_label",
    tfds.features.Scalar: "tensor",
    tfds.features.Tensor: "tensor",
    tfds.features.BBoxFeature: "bounding_box",
    tfds.features.Sequence: "sequence",
}
_KINDS = {f"{feature.__module__}.{feature.__name__}": kind for feature, kind in _CONTENT.items()}
# TFDS passes anything else to TensorFlow, which it would have to import.
_DTYPES = {
    "bool", "string", "float16", "float32", "float64",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}  # fmt: skip
_FIELD_BYTES = 2**31  # a record is a protocol buffer, of 2 GiB at most
_MAX_CLASSES = 10**8
_SHARD_FIELDS = {"DATASET", "SPLIT", "FILEFORMAT", "SHARD_INDEX", "NUM_SHARDS", "SHARD_X_OF_Y"}
_INNER_PATH = re.compile(r"[\w.@+-]+(/[\w.@+-]+)*")


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of a split, in the order of its records.

    Attributes:
      paths: of the shards.
      lengths: records in each.
    """

    paths: list[str]
    lengths: list[int]


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The contents of `features.json` and `dataset_info.json`.

    Attributes:
      features: of a record.
      file_format: "tfrecord", "array_record" or another of TFDS'.
      splits: by name.
    """

    features: tfds.features.FeaturesDict
    file_format: str
    splits: dict[str, Split]


def read(folder: epath.Path) -> Metadata:
    """Reads `features.json`, `dataset_info.json` and the names of class labels, without executing anything they name.

    Raises:
      UserError: a file cannot be read or understood, asks for a feature that facejax does not read, or names shards
        outside the folder.
    """
    with _named(folder / "features.json") as path:
        features = _features(path)
    with _named(folder / "dataset_info.json") as path:
        return Metadata(features, *_shards(path))


@contextlib.contextmanager
def _named(path: epath.Path) -> Iterator[epath.Path]:
    """Context that turns any error of a parser into a UserError that names the file."""
    try:
        yield path
    except Exception as error:  # protobuf and TFDS may raise almost anything
        reason = str(error)[:300] or type(error).__name__
        raise UserError(f"cannot understand {path}: {reason}; copy or convert the data set again") from error


def _features(path: epath.Path) -> tfds.features.FeaturesDict:
    content = json.loads(path.read_text())
    if isinstance(content, dict) and "type" in content:
        raise ValueError("it is in the format of TFDS before 4.5")
    proto = json_format.ParseDict(content, feature_pb2.Feature())
    _check_feature(proto, "the record", {"features_dict"})
    features = tfds.features.FeatureConnector.from_proto(proto)
    features.load_metadata(path.parent, feature_name=None)
    return features


def _check_feature(proto: feature_pb2.Feature, where: str, kinds: set[str]) -> None:
    """Raises ValueError unless a feature, with everything it contains, can be passed to TFDS safely."""
    name, kind = proto.python_class_name, proto.WhichOneof("content")
    if _KINDS.get(name) != kind or kind not in kinds:
        readable = ", ".join(sorted(feature.__name__ for feature, kind in _CONTENT.items() if kind in kinds))
        raise ValueError(f"{where} is a {name[:100]!r} described by {kind}; facejax reads {readable}")
    content = getattr(proto, kind)
    if kind == "features_dict":
        for field, feature in content.features.items():
            if not field or set("/\\\0") & set(field):  # it becomes a part of file names
                raise ValueError(f"{field[:100]!r} cannot name a field")
            _check_feature(feature, f"field '{field}'", set(_KINDS.values()))
    elif kind == "sequence":
        _check_feature(content.feature, f"{where}, in a sequence,", set(_KINDS.values()))
    elif kind == "class_label":
        if content.num_classes > _MAX_CLASSES:
            raise ValueError(f"{where} has {content.num_classes} classes, more than {_MAX_CLASSES}")
    elif kind != "text":
        if content.dtype not in _DTYPES and (content.dtype or kind != "bounding_box"):
            raise ValueError(f"{where} has the unknown dtype {content.dtype[:100]!r}")
        if math.prod(abs(size) for size in content.shape.dimensions) > _FIELD_BYTES:
            raise ValueError(f"{where} has a shape larger than a record can be")


def _shards(path: epath.Path) -> tuple[str, dict[str, Split]]:
    info = json_format.Parse(path.read_text(), dataset_info_pb2.DatasetInfo(), ignore_unknown_fields=True)
    file_format = info.file_format or "tfrecord"
    splits = {}
    for split in info.splits:
        if split.name in splits or not _INNER_PATH.fullmatch(split.name) or "/" in split.name:
            raise ValueError(f"{split.name[:100]!r} occurs twice or cannot name a split")
        lengths = list(split.shard_lengths)
        if any(length < 0 for length in lengths) or sum(lengths) > sys.maxsize:
            raise ValueError(f"split '{split.name}' has impossible shard lengths")
        for _, field, *formatting in string.Formatter().parse(split.filepath_template):
            if field is not None and (field not in _SHARD_FIELDS or any(formatting)):
                raise ValueError(f"split '{split.name}' has the template {split.filepath_template[:100]!r}")
        template = ShardedFileTemplate(path.parent, split.filepath_template, info.name, split.name, file_format)
        names = [template.relative_filepath(shard_index=i, num_shards=len(lengths)) for i in range(len(lengths))]
        if outside := [name for name in names if not _INNER_PATH.fullmatch(name) or ".." in name.split("/")]:
            raise ValueError(f"the shard {outside[0][:100]!r} of split '{split.name}' is not in the folder")
        splits[split.name] = Split([f"{path.parent}/{name}" for name in names], lengths)
    return file_format, splits
