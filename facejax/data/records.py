"""Records on disk in TFDS layout, as TFRecord or ArrayRecord, written and read without TensorFlow.

A data set is one folder: `features.json` and `dataset_info.json` describe it, the shards
`NAME-SPLIT.FORMAT-00000-of-00004`, ... hold it.
`tfds.builder_from_directory(folder)` reads what `write` wrote, and `open_split` reads what TFDS wrote.
"""

import bisect
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import itertools
import json
import logging
import multiprocessing
import operator
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Any, Literal, get_args

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils import epath
from google.protobuf.message import DecodeError
from tensorflow_datasets.core import dataset_info, example_parser, example_serializer
from tensorflow_datasets.core import splits as tfds_splits
from tqdm import tqdm

from facejax import paths
from facejax.data import images, metadata, tfrecord
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError
from facejax.files import named_write_errors, upload, write_atomically
from facejax.interruptions import ctrl_c_blocked

FileFormat = Literal["tfrecord", "array_record"]
Example = Mapping[str, Any]

SHARD_BYTES = 64 << 20
_NUM_SAMPLES = 16  # number of examples from which a split's size is estimated
_MAX_OPEN_FILES = 256
_OPENING_THREADS = 16  # requests to a URL wait for their answers
_INFO = "dataset_info.json"
# Errors of TFDS' parser for a record that does not fit the features.
_UNSUITABLE = (DecodeError, LookupError, ValueError, AttributeError, TypeError, ArithmeticError, zlib.error)


# --- Examples <-> bytes ---


class _Codec:
    """Converts examples of given features to and from serialised `tf.train.Example`; images stay encoded."""

    def __init__(self, features: tfds.features.FeaturesDict):
        self.features = features
        self._serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        self._parser = example_parser.ExampleParserNp(features.get_serialized_info())

    def encode(self, example: Example) -> bytes:
        for name, feature in self.features.items():
            if isinstance(feature, tfds.features.Image) and isinstance(example.get(name), np.ndarray):
                raise TypeError(f"feature '{name}' is an image and takes encoded bytes (JPEG, PNG), not an array")
        tf_example = self._serializer.get_tf_example(self.features.encode_example(example))
        return tf_example.SerializeToString(deterministic=True)  # otherwise the order of the features may change

    def decode(self, record: bytes) -> dict[str, Any]:
        try:
            parsed = self._parser.parse_example(record)
            if missing := [name for name, value in parsed.items() if value is None]:
                raise ValueError(f"lacks {', '.join(missing)}")
            return {name: _to_numpy(feature, parsed[name]) for name, feature in self.features.items()}
        except _UNSUITABLE as error:
            raise ValueError(f"does not match features.json: {error}") from error


def _to_numpy(feature: tfds.features.FeatureConnector, value: Any) -> Any:
    if isinstance(feature, tfds.features.Image) or isinstance(value, np.ndarray):
        return value
    if isinstance(feature, tfds.features.Text):
        return value.decode()
    decoded = feature.decode_example_np(value)
    return np.dtype(feature.np_dtype).type(decoded) if isinstance(decoded, (int, float)) else decoded


# --- Writing ---


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Replaces an example that could not be made: it is counted and reported, not written."""

    where: str
    reason: str


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """What was written for one split.

    Attributes:
      shard_lengths: records in each shard.
      num_bytes: of all records.
      skipped: the `Skipped` among the examples.
      uneven: (example, number of its records) for each example that gave none or several.
    """

    shard_lengths: list[int]
    num_bytes: int
    skipped: list[Skipped]
    uneven: list[tuple[int, int]]

    @property
    def num_records(self) -> int:
        """Records in all shards."""
        return sum(self.shard_lengths)


@dataclasses.dataclass
class _Shard:
    """One finished shard of a split that is being written; the partial folder stores it as JSON next to the shard."""

    length: int = 0
    num_bytes: int = 0
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    uneven: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> "_Shard":
        content = json.loads(text)
        skipped, uneven = [Skipped(**item) for item in content["skipped"]], list(map(tuple, content["uneven"]))
        return cls(content["length"], content["num_bytes"], skipped, uneven)


@dataclasses.dataclass(frozen=True)
class Info:
    """What a data set is: the contents of `features.json` and `dataset_info.json`.

    Attributes:
      name: lower case, digits and underscores; shard names begin with it.
      features: a `tfds.features.FeaturesDict` or a dict of features; dtypes as NumPy's. An image is given as its
        encoded bytes (or a path), which are passed through unchanged.
      version: "major.minor.patch".
      description: what is in it.
      homepage: of its owners.
      citation: BibTeX.
      license: permitted use.
    """

    name: str
    features: Mapping[str, Any]
    version: str = "1.0.0"
    description: str = ""
    homepage: str = ""
    citation: str = ""
    license: str = ""


@dataclasses.dataclass(frozen=True)
class Shards:
    """How the shards of a data set are written.

    Attributes:
      file_format: "tfrecord" or "array_record".
      num_bytes: approximate size of a shard.
      num_workers: processes that write the shards of sequences, which must then be picklable. 0: this process.
      run: calls the given functions, each of which writes a shard of a sequence, possibly on other machines that see
        the folder and the examples' sources under the same paths. The functions are picklable and may be called again
        after a failure. None: `num_workers` processes.
    """

    file_format: FileFormat = "tfrecord"
    num_bytes: int = SHARD_BYTES
    num_workers: int = 0
    run: Callable[[Sequence[Callable[[], Any]]], Any] | None = None


def write(
    folder: epath.PathLike,
    info: Info,
    splits: Mapping[str, Iterable[Example | list[Example] | Skipped]],
    shards: Shards = Shards(),
    *,
    beside: Callable[[dict[str, SplitSummary]], Mapping[str, str | bytes]] = lambda summaries: {},
) -> dict[str, SplitSummary]:
    """Writes a data set in TFDS layout; `folder` appears under its name only when it is complete.

    At a URL, where a folder cannot be renamed atomically, the shards get their final names at once, and
    `dataset_info.json`, without which a folder is no data set, is written last.

    A split is either

    - a *sequence* (`__len__` and `__getitem__`, as in a list, or in a class that makes example i on demand): its shards
      are fixed in advance and written by `shards.num_workers` processes, and an interrupted call resumes after its last
      complete shard (its data is in `.FOLDER.partial` next to `folder`). A few examples, and the sequence's attribute
      `fingerprint` if it exists, identify the conversion; or
    - an *iterable*, for examples that are made one after the other: this process writes them in order, with a new shard
      whenever `shards.num_bytes` are full, and always from the beginning. With a `__len__`, progress shows the total.

    The same examples give the same bytes in every file, whatever the number of workers and interruptions.

    Args:
      folder: folder of the data set, a local path or a URL; must not exist. Its name may differ from `info.name`.
      info: what the data set is.
      splits: split name -> examples. A `Skipped` instead of an example is counted; a list of examples becomes as many
        records.
      shards: how they are written.
      beside: further files for the folder, by name.

    Returns:
      A summary for each split.

    Raises:
      UserError: `folder` exists or cannot be written, an example does not fit the features, a split is empty, another
        process writes the same folder, or the disk is full.

    Examples:
      >>> import numpy as np
      >>> import tensorflow_datasets as tfds
      >>> features = {"image": tfds.features.Image(), "identity": tfds.features.Scalar(np.int64)}
      >>> examples = [{"image": open("a.jpg", "rb").read(), "identity": 3}]           # doctest: +SKIP
      >>> write("/tmp/faces", Info("faces", features), {"train": examples})           # doctest: +SKIP
    """
    folder = paths.resolve(folder)
    check_free(folder)
    for part in (info.name, *splits):
        if not re.fullmatch(r"[a-z]\w*", part):
            raise UserError(
                f"'{part}' cannot name a data set or split: lower case letters, digits and underscores only"
            )
    found = _tfds_info(info, folder, shards.file_format)
    at_url = paths.is_url(folder)
    partial = folder if at_url else folder.parent / f".{folder.name}.partial"
    with named_write_errors(folder), contextlib.nullcontext() if at_url else locked(partial):
        summaries = _write_splits(partial, info.name, found.features, splits, shards)
        found.set_splits(tfds_splits.SplitDict([_split_info(s, summary) for s, summary in summaries.items()]))
        for file, content in beside(summaries).items():
            write_atomically(partial / file, content)
        if at_url:
            _finish_at_url(folder, found)
        else:
            _finish(partial, folder, found)
    return summaries


def _tfds_info(info: Info, folder: epath.Path, file_format: FileFormat) -> dataset_info.DatasetInfo:
    features = info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        features = tfds.features.FeaturesDict(features)
    found = dataset_info.DatasetInfo(
        builder=dataset_info.DatasetIdentity(
            name=info.name, version=info.version, data_dir=str(folder), module_name=""
        ),
        features=features,
        description=info.description,
        homepage=info.homepage,
        citation=info.citation,
        license=info.license,
    )
    found.set_file_format(file_format)
    return found


def check_free(folder: epath.Path, key: str = "") -> None:
    """Raises UserError if the destination exists, unless it is an unfinished data set at a URL.

    Args:
      folder: resolved.
      key: the flag that named it.
    """
    taken = folder / _INFO if paths.is_url(folder) else folder
    if taken.exists():
        given = f"{key}={folder}" if key else folder
        raise UserError(f"{given} exists already; remove it or choose another folder for the records")


def _finish(partial: epath.Path, folder: epath.Path, info: dataset_info.DatasetInfo) -> None:
    info.write_to_directory(partial)
    for path in partial.iterdir():  # removes what only resuming needs, and syncs the others to disk
        if path.name.startswith("."):
            path.unlink()
        else:
            _fsync(path)
    _fsync(partial)
    os.rename(partial, folder)
    _fsync(folder.parent)


def _finish_at_url(folder: epath.Path, info: dataset_info.DatasetInfo) -> None:
    with tempfile.TemporaryDirectory() as local:
        info.write_to_directory(local)
        for file in sorted(epath.Path(local).iterdir(), key=lambda file: file.name == _INFO):
            upload(file, folder / file.name)
    for path in folder.iterdir():  # needed only to resume
        if path.name.startswith(".") and path.suffix != tfrecord.INDEX_SUFFIX:
            path.unlink()


def _split_info(split: str, summary: SplitSummary) -> tfds_splits.SplitInfo:
    return tfds_splits.SplitInfo(
        name=split, shard_lengths=summary.shard_lengths, num_bytes=summary.num_bytes, filename_template=None
    )


@contextlib.contextmanager
def locked(partial: epath.Path) -> Iterator[None]:
    """Creates a local folder and locks it against other writers while the context lasts.

    Raises:
      UserError: another process has locked it.
    """
    partial.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is writing {partial}; wait for it or stop it") from None
        yield
    finally:
        os.close(descriptor)


def _write_splits(partial, name, features, splits, options: Shards) -> dict[str, SplitSummary]:
    codec = _Codec(features)
    sequences = {s: e for s, e in splits.items() if hasattr(e, "__len__") and hasattr(e, "__getitem__")}
    layout = {split: _shard_layout(codec, split, examples, options.num_bytes) for split, examples in sequences.items()}
    plan = json.dumps({"name": name, "features": features.to_json(), "format": options.file_format, "layout": layout})
    plan_path = partial / ".plan.json"
    same = plan_path.exists() and plan_path.read_text() == plan
    if paths.is_url(partial):  # may hold files of others: nothing there is removed
        if not same and partial.exists():
            raise UserError(
                f"{partial} holds other files or another unfinished conversion; remove it or choose another "
                "folder for the records"
            )
    else:
        keep = {plan_path} if same else set()
        for split in layout if same else ():
            shard_paths = _shard_paths(partial, name, split, options.file_format, len(layout[split]["boundaries"]) - 1)
            keep.update(shard_paths, map(_sidecar, shard_paths))
        if not same and any(partial.iterdir()):
            logging.warning("%s belongs to another conversion: starting over", partial)
        for path in set(partial.iterdir()) - keep:
            path.unlink()
    write_atomically(plan_path, plan)
    shards = _write_sequences(partial, name, codec, sequences, layout, options)
    for split, examples in splits.items():
        if split not in sequences:
            shards[split] = _write_stream(partial, name, codec, split, examples, options)
    summaries = {}
    for split in splits:
        skipped = [item for shard in shards[split] for item in shard.skipped]
        lengths = [shard.length for shard in shards[split]]
        if not sum(lengths):
            because = f": all {len(skipped)} were skipped, the first with: {skipped[0].reason}" if skipped else ""
            raise UserError(f"split '{split}' of {name} has no records{because}; check the source")
        uneven = [pair for shard in shards[split] for pair in shard.uneven]
        summaries[split] = SplitSummary(lengths, sum(shard.num_bytes for shard in shards[split]), skipped, uneven)
    return summaries


def _shard_layout(codec: _Codec, split: str, examples: Sequence[Example], shard_bytes: int) -> dict[str, Any]:
    """Boundaries of the shards of a sequence, from the size of a few examples, whose digest identifies the source."""
    if not len(examples):
        raise UserError(f"split '{split}' has no records; check the source")
    indices = sorted({int(i) for i in np.linspace(0, len(examples) - 1, _NUM_SAMPLES)})
    samples = [_encode(codec, split, i, examples[i]) for i in indices]
    sizes = [sum(map(len, sample)) for sample in samples if not isinstance(sample, Skipped)]
    num_shards = round(len(examples) * np.mean(sizes) / shard_bytes) if sizes else 1
    num_shards = min(max(1, num_shards), len(examples))
    return {
        "boundaries": [round(len(examples) * shard / num_shards) for shard in range(num_shards + 1)],
        "sample": hashlib.sha256(repr((samples, getattr(examples, "fingerprint", ""))).encode()).hexdigest(),
    }


def _encode(codec: _Codec, split: str, i: int, example: Example | list[Example] | Skipped) -> list[bytes] | Skipped:
    if isinstance(example, Skipped):
        return example
    try:
        return [codec.encode(each) for each in (example if isinstance(example, list) else [example])]
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:  # TFDS: any of these
        raise UserError(f"split '{split}', example {i} does not fit the features: {error}") from error


def _shard_paths(
    partial: epath.Path, name: str, split: str, file_format: FileFormat, num_shards: int
) -> list[epath.Path]:
    return [partial / f"{name}-{split}.{file_format}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]


def _sidecar(shard_path: epath.Path) -> epath.Path:
    """The file that describes a finished shard until the whole data set is finished."""
    return shard_path.parent / f".{shard_path.name}.json"


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """A shard of a sequence to be written; picklable if its examples are."""

    path: epath.Path
    split: str
    examples: Sequence[Example | list[Example] | Skipped]
    start: int
    end: int
    features: tfds.features.FeaturesDict
    file_format: FileFormat

    def __len__(self) -> int:
        return self.end - self.start

    def __call__(self, advance: Callable[[], Any] = lambda: None) -> _Shard:
        codec, shard = _Codec(self.features), _Shard()
        with _open_writer(self.path, self.file_format) as append:
            for i in range(self.start, self.end):
                _add(shard, append, i, _encode(codec, self.split, i, self.examples[i]))
                advance()
        write_atomically(_sidecar(self.path), json.dumps(dataclasses.asdict(shard)))
        return shard


def _write_sequences(partial, name, codec, sequences, layout, options: Shards) -> dict[str, list[_Shard]]:
    """The shards of all sequences: complete ones are reused, the others are written."""
    shards: dict[str, list[_Shard]] = {}
    pending: dict[_Task, tuple[str, int]] = {}
    for split, examples in sequences.items():
        boundaries = layout[split]["boundaries"]
        shards[split] = [_Shard()] * (len(boundaries) - 1)
        shard_paths = _shard_paths(partial, name, split, options.file_format, len(boundaries) - 1)
        for index, path in enumerate(shard_paths):
            if path.exists() and _sidecar(path).exists():
                shards[split][index] = _Shard.from_json(_sidecar(path).read_text())
            else:
                start, end = boundaries[index : index + 2]
                task = _Task(path, split, examples, start, end, codec.features, options.file_format)
                pending[task] = split, index
    total = sum(len(examples) for examples in sequences.values())
    missing = sum(map(len, pending))
    if missing < total:
        logging.warning("%s: resuming after %d of %d records", partial, total - missing, total)
    if not pending:
        return shards
    if options.run:
        options.run(list(pending))
        for task, (split, index) in pending.items():
            shards[split][index] = _Shard.from_json(_sidecar(task.path).read_text())
        return shards
    with _progress(name, total, initial=total - missing) as progress:
        for task, shard in _run(list(pending), options.num_workers, progress):
            split, index = pending[task]
            shards[split][index] = shard
    return shards


def _run(tasks: list[_Task], num_workers: int, progress: tqdm) -> Iterator[tuple[_Task, _Shard]]:
    """Each task with the shard that it has written, in any order."""
    if not num_workers:
        for task in tasks:
            yield task, task(progress.update)
        return
    # spawn: a fork of a process that has threads (JAX, grain) may hang
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        with ctrl_c_blocked():
            futures = {pool.submit(task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
                progress.update(len(futures[future]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _add(shard: _Shard, append: Callable[[bytes], None], i: int, encoded: list[bytes] | Skipped) -> None:
    if isinstance(encoded, Skipped):
        shard.skipped.append(encoded)
        encoded = []
    for record in encoded:
        append(record)
        shard.num_bytes += len(record)
    shard.length += len(encoded)
    if len(encoded) != 1:
        shard.uneven.append((i, len(encoded)))


def _write_stream(partial, name, codec, split, examples, options: Shards) -> list[_Shard]:
    """The shards of an iterable; their number is known, and becomes a part of their names, only at the end."""
    shards, temporaries = [], []
    numbered = enumerate(examples)
    with _progress(f"{name} {split}", len(examples) if hasattr(examples, "__len__") else None) as progress:
        for i, example in numbered:
            shard, path = _Shard(), partial / f".{split}.{len(temporaries)}"
            shards.append(shard)
            temporaries.append(path)
            with _open_writer(path, options.file_format) as append:
                for j, following in itertools.chain([(i, example)], numbered):
                    _add(shard, append, j, _encode(codec, split, j, following))
                    progress.update()
                    if shard.num_bytes >= options.num_bytes:
                        break
    final_paths = _shard_paths(partial, name, split, options.file_format, len(temporaries))
    for path, final in zip(temporaries, final_paths, strict=True):
        path.replace(final)
    return shards


def _progress(description: str, total: int | None, initial: int = 0) -> tqdm:
    return tqdm(desc=description, total=total, initial=initial, unit=" records", mininterval=1, disable=total == 0)


@contextlib.contextmanager
def _open_writer(path: epath.Path, file_format: FileFormat) -> Iterator[Callable[[bytes], None]]:
    """A function that appends a record; the file gets its name when the block ends without an error.

    A file at a URL is first written to a local temporary file.
    """
    at_url = paths.is_url(path)
    with tempfile.TemporaryDirectory() if at_url else contextlib.nullcontext(path.parent) as local:
        temporary = epath.Path(local) / f".{path.name}.writing"
        if file_format == "tfrecord":
            with open(temporary, "wb") as file:
                yield lambda record: file.write(tfrecord.frame(record))
        else:
            # one record per chunk, for random access; encoded images do not compress further
            writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
            try:
                yield writer.write
            finally:
                writer.close()
        if not at_url:
            _fsync(temporary)
            temporary.replace(path)
        elif file_format == "tfrecord":
            tfrecord.upload(temporary, path)
        else:
            upload(temporary, path)


def _fsync(path: epath.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- Reading ---


def open_split(folder: epath.PathLike, split: str, *, hint: str = "", skip_corrupt: bool = False) -> "RecordSource":
    """Opens one split of a data set in TFDS layout, written by `write` or by TFDS.

    Args:
      folder: the folder that holds `dataset_info.json`.
      split: name of the split.
      hint: what to do if the data does not exist, for the error message: "run python -m data_prep.NAME ...".
      skip_corrupt: open a split even if a shard is truncated or its record lengths are damaged; reading a lost record
        then raises `CorruptRecord`, like reading any other damaged record.

    Raises:
      UserError: no such folder or split, no records in it, a shard is missing, ArrayRecord at a URL that is not gs://.
      CorruptRecord: a shard is truncated (unless `skip_corrupt`).
    """
    info = _read_metadata(folder, hint)
    if split not in info.splits:
        raise UserError(f"{folder} has no split '{split}'; it has {', '.join(sorted(info.splits)) or 'none'}")
    if not sum(info.splits[split].lengths):
        raise UserError(f"split '{split}' of {folder} has no records")
    if info.file_format not in get_args(FileFormat):
        raise UserError(f"{folder} is in format {info.file_format}; facejax reads {' and '.join(get_args(FileFormat))}")
    folder = paths.resolve(folder)
    if info.file_format == "array_record" and paths.is_url(folder) and not os.fspath(folder).startswith("gs://"):
        raise UserError(f"{folder} is in format array_record, which is read from local disks and gs:// only; copy it")
    return RecordSource(folder, split, info.features, info.file_format, info.splits[split], skip_corrupt)


def read_with_image(source: "RecordSource", i: int, *, at_least: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    """Record i of a source, and its decoded image: uint8 [height, width, 3].

    Args:
      source: a `RecordSource`, or a replacement.
      i: number of the record.
      at_least: as for `images.decode`.

    Raises:
      CorruptRecord: the record cannot be read, or its image cannot be decoded.
    """
    record = source[i]
    try:
        return record, images.decode(record["image"], at_least=at_least)
    except ValueError as error:
        raise CorruptRecord(f"{source.where(i)}: image: {error}") from error


def num_records(folder: epath.PathLike, *, hint: str = "") -> dict[str, int]:
    """Records in each split of a data set.

    Raises:
      UserError: no such folder, or no data set in it; `hint` as for `open_split`.
    """
    return {name: sum(split.lengths) for name, split in _read_metadata(folder, hint).splits.items()}


def _read_metadata(folder: epath.PathLike, hint: str) -> metadata.Metadata:
    folder = paths.resolve(folder)
    what_to_do = f"; {hint}" if hint else ""
    if not folder.exists():
        raise UserError(f"no data set at {folder}{what_to_do}")
    if not (folder / _INFO).exists() or not (folder / "features.json").exists():
        raise UserError(f"{folder} holds no data set: it lacks dataset_info.json or features.json{what_to_do}")
    return metadata.read(folder)


class RecordSource:
    """Random access to the records of one split; grain's `RandomAccessDataSource`. Thread-safe and picklable.

    `source[i]` is a dict of NumPy values, images as their encoded bytes, texts as `str`. Checksums are verified on
    every read; `CorruptRecord` names file and record.

    Attributes:
      folder: of the data set.
      split: name of the split.
      features: of a record.
    """

    folder: epath.Path
    split: str
    features: tfds.features.FeaturesDict

    def __init__(
        self,
        folder,
        split,
        features,
        file_format: FileFormat,
        shards: metadata.Split,
        skip_corrupt: bool,
    ):
        self.folder, self.split, self.features = folder, split, features
        self._paths = shards.paths
        self._starts = [0, *itertools.accumulate(shards.lengths)]  # first record of each shard
        self._format = file_format
        self._faults = [""] * len(self._paths)  # why a shard lacks its last records
        self._boundaries: list[np.ndarray | None] = [None] * len(self._paths)  # TFRecord: see tfrecord.index
        self._on_load()
        check = functools.partial(self._check, skip_corrupt=skip_corrupt)
        with ThreadPoolExecutor(_OPENING_THREADS) as pool:
            checked = pool.map(check, range(len(self._paths)), shards.lengths)
            for _ in tqdm(checked, desc="opening records", total=len(self._paths), unit=" shards", delay=2):
                pass

    def _check(self, shard: int, expected: int, skip_corrupt: bool) -> None:
        path = self._paths[shard]
        if not epath.Path(path).exists():
            raise UserError(f"{path} is missing; copy or convert the data set again")
        if self._format == "tfrecord":
            self._boundaries[shard], fault = tfrecord.index(path)
            found = len(self._boundaries[shard]) - 1
        else:
            try:
                found, fault = self._open(shard).num_records(), ""
            except RuntimeError as error:  # the table of contents is damaged
                found, fault = 0, _first_line(error)
        if found > expected:
            raise UserError(f"{path} holds {found} records, but dataset_info.json lists {expected}; convert it again")
        if found < expected:
            self._faults[shard] = fault or "the file is truncated"
            if not skip_corrupt:
                raise CorruptRecord(
                    f"{self.where(self._starts[shard] + found)}: {self._faults[shard]} "
                    f"({found} of {expected} records are whole); copy or convert the file again"
                )

    def _on_load(self) -> None:
        self._codec = _Codec(self.features)
        self._open = functools.lru_cache(_MAX_OPEN_FILES)(self._open_shard)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_codec", "_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._on_load()

    def _open_shard(self, shard: int) -> Any:
        if self._format == "tfrecord":
            return tfrecord.RandomAccessFile(self._paths[shard])
        return array_record_module.ArrayRecordReader(
            self._paths[shard], options="readahead_buffer_size:0", file_reader_buffer_size=32768
        )

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        return f"RecordSource({self.folder}, {self.split}: {len(self)} records in {len(self._paths)} shards)"

    def _locate(self, i: int) -> tuple[int, int]:
        i = operator.index(i)
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = bisect.bisect_right(self._starts, i) - 1
        return shard, i - self._starts[shard]

    def where(self, i: int) -> str:
        """The file of record i and its place in that file, counted from 0."""
        shard, n = self._locate(i)
        return f"{self._paths[shard]}, record {n}"

    def __getitem__(self, i: int) -> dict[str, Any]:
        record = self._read(i)
        try:
            return self._codec.decode(record)
        except ValueError as error:
            raise CorruptRecord(f"{self.where(i)}: {error}") from error

    def _read(self, i: int) -> bytes:
        shard, n = self._locate(i)
        if self._format == "tfrecord":
            boundaries = self._boundaries[shard]
            if n >= len(boundaries) - 1:
                raise CorruptRecord(f"{self.where(i)}: lost, {self._faults[shard]}")
            return tfrecord.read_record(self._open(shard), int(boundaries[n]), int(boundaries[n + 1]), self.where(i))
        try:
            return self._open(shard).read([n])[0]
        except (RuntimeError, IndexError, ValueError) as error:
            reason = self._faults[shard] or _first_line(error)
            raise CorruptRecord(f"{self.where(i)}: {reason}; copy or convert the file again") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]
