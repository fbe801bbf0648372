"""Converters: each declares a data set and lists its items; everything else is done here.

    DATASET = conversion.Dataset(name="rafdb", read=read, ...)

    def read(source, args):           # -> features next to the image, and the items of each split
        return features, {"train": items, "test": items}

    if __name__ == "__main__":
        conversion.main(DATASET)

An item has the place of its image (`File`, `Encoded`, `Pixels`, or the converter's own object with `name` and `read`)
and its labels. Items are first listed, on disk; then worker processes make the records.
"""

import argparse
import array
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from data_prep import pictures, sources
from data_prep.sources import printable
from facejax import paths, processors
from facejax.data import face_detection, few_shot, records
from facejax.data.records import Skipped
from facejax.errors import UserError, report_user_errors
from facejax.files import named_write_errors

SHOTS = (1, 2, 4, 10)
PEOPLE = {"identity": tfds.features.Scalar(np.int64), "name": tfds.features.Text()}

_SHOWN = 10  # skipped files that the summary prints
_SHOWN_CLASSES = 50
_FEW = 10_000  # number of images that one process converts before others would have started


# --- Declaring ---


class Image(Protocol):
    """Where an image is; small and picklable."""

    name: str  # its name in reports and in the record's field `file`

    def read(self, source: Path) -> bytes | np.ndarray:
        """The encoded image or its pixels, uint8 [H, W] or [H, W, 3]; or ValueError, OSError."""


@dataclasses.dataclass(frozen=True)
class File:
    """An image file, by its path below the source folder, with slashes."""

    name: str

    def read(self, source: Path) -> bytes:
        """The bytes of the file, which must be in the source folder."""
        return sources.read_file(source, self.name, pictures.MAX_BYTES)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Bytes of an encoded image, from a file with many."""

    name: str
    data: bytes

    def read(self, source: Path) -> bytes:
        """The bytes."""
        return self.data


@dataclasses.dataclass(frozen=True)
class Pixels:
    """An image as an array uint8 [H, W] or [H, W, 3]; becomes a PNG."""

    name: str
    array: np.ndarray

    def read(self, source: Path) -> np.ndarray:
        """The array."""
        return self.array


@dataclasses.dataclass(frozen=True)
class Item:
    """One example of a data set.

    Attributes:
      image: where its image is.
      labels: the other fields of the record, next to `image` and `file`. For a ClassLabel, its number or name.
      box: x1, y1, x2, y2 of the face in pixels, for --crop.
      points: [5, 2], x and y of eyes, nose and corners of the mouth in pixels, from the viewer's left to right, for
        --align.
      key: what must not occur twice in a split ("": nothing); the second item of the same key is skipped.
      channel_order: "bgr": red and blue of the image are swapped.
    """

    image: Image
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    box: Sequence[float] | None = None
    points: np.ndarray | None = None
    key: str = ""
    channel_order: str = "rgb"


Read = Callable[[Path, argparse.Namespace], tuple[Mapping[str, Any], Mapping[str, Iterable[Item | Skipped]]]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Description of a data set.

    Attributes:
      name: of the data set and its module.
      read: of the source folder and the parsed arguments, returns the features next to `image` and `file`, and for each
        split an iterable of items (preferably a generator, with a `Skipped` for unusable ones). Raises
        UserError where a list file is missing or is invalid.
      layout: the contents of --source in a sentence, for --help and errors.
      description: the contents of the records.
      homepage: where to ask for the data.
      license: in a word or two.
      citation: BibTeX or a line.
      add_arguments: adds the command's own arguments to a parser.
      positions: fields in pixels, [..., 2] as x and y, that follow the image when it is cropped, aligned or resized.
      boxes: likewise, fields [..., 4], x1, y1, x2, y2.
      identity: field, an integer or a ClassLabel, that --shots and --identity_fraction select by; None: none.
      has_box: items may have a box: there is --crop.
      has_points: items may have five points: there is --align.
      finds_faces: items are pictures that contain faces: there are --align and --crop, with a detector.
      lists: of the source folder and the arguments, returns further files by name, which are stored next to the
        records; it is called before anything is converted.
    """

    name: str
    read: Read
    layout: str
    description: str = ""
    homepage: str = ""
    license: str = ""
    citation: str = ""
    add_arguments: Callable[[argparse.ArgumentParser], Any] = lambda parser: None
    positions: Sequence[str] = ()
    boxes: Sequence[str] = ()
    identity: str | None = None
    has_box: bool = False
    has_points: bool = False
    finds_faces: bool = False
    lists: Callable[[Path, argparse.Namespace], Mapping[str, bytes]] = lambda source, args: {}


# --- Listing ---


class _Listing:
    """The items of a split, written to a file one after the other, and counts of their labels.

    Lists may have tens of millions of entries, and every worker reads some of them: none holds all.
    """

    def __init__(self, path: Path, counted: Sequence[str]):
        self.path = path
        self.ends = array.array("q", [0])
        self.counted = {field: array.array("q") for field in counted}  # -1 where an entry has no item
        self.digest = hashlib.sha256()

    def fill(self, entries: Iterable[Item | Skipped], features: tfds.features.FeaturesDict, strict: bool) -> None:
        """Writes all entries, with class names replaced by numbers and invalid items by a `Skipped`."""
        keys: set[str] = set()
        with open(self.path, "wb") as file, tqdm(desc=f"listing {self.path.name}", unit=" files", delay=2) as progress:
            for entry in entries:
                entry = _checked(entry, features, keys)
                if strict and isinstance(entry, Skipped):
                    raise UserError(f"{entry.where}: {entry.reason}")
                data = pickle.dumps(entry, pickle.HIGHEST_PROTOCOL)
                file.write(data)
                self.digest.update(data)
                self.ends.append(self.ends[-1] + len(data))
                for field, values in self.counted.items():
                    values.append(-1 if isinstance(entry, Skipped) else int(entry.labels[field]))
                progress.update()

    def spans(self) -> np.ndarray:
        """Where each entry begins and ends in the file, int64 [N, 2]."""
        ends = np.asarray(self.ends)
        return np.stack([ends[:-1], ends[1:]], axis=1)


def _checked(entry: Item | Skipped, features: tfds.features.FeaturesDict, keys: set[str]) -> Item | Skipped:
    if isinstance(entry, Skipped):
        return Skipped(printable(entry.where), entry.reason)
    where = printable(entry.image.name)
    if entry.key:
        if entry.key in keys:
            return Skipped(where, f"{entry.key} is listed a second time")
        keys.add(entry.key)
    labels = dict(entry.labels)
    for field, value in labels.items():
        feature = features[field]
        if isinstance(feature, tfds.features.ClassLabel):
            try:
                labels[field] = feature.str2int(value) if isinstance(value, str) else int(value)
            except (ValueError, KeyError):
                return Skipped(where, f"'{value}' is not a {field}; there are {_some(feature.names)}")
            if not 0 <= labels[field] < feature.num_classes:
                return Skipped(where, f"{field} {value} is out of range, 0 to {feature.num_classes - 1}")
        elif isinstance(value, str):
            labels[field] = printable(value)
    return dataclasses.replace(entry, labels=labels)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


# --- Making examples ---


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes the examples of an item."""

    source: Path
    change: pictures.Change
    find: face_detection.Finder | None
    positions: Sequence[str]
    boxes: Sequence[str]
    identity: str | None  # the field that is renumbered from 0
    kept_identities: np.ndarray | None
    strict: bool

    def __call__(self, item: Item | Skipped) -> list[dict[str, Any]] | Skipped:
        if isinstance(item, Skipped):
            return item
        where = printable(item.image.name)
        try:
            return [self._example(item, where, *converted) for converted in self._convert(item)]
        except (ValueError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
            if self.strict:
                raise UserError(f"{where}: {reason}") from error
            return Skipped(where, reason)

    def _convert(self, item: Item) -> list[tuple[bytes, np.ndarray]]:
        image, order = item.image.read(self.source), item.channel_order
        if self.find:
            return pictures.convert_faces(image, self.change, self.find, channel_order=order)
        return [pictures.convert(image, self.change, box=item.box, points=item.points, channel_order=order)]

    def _example(self, item: Item, where: str, data: bytes, matrix: np.ndarray) -> dict[str, Any]:
        labels = dict(item.labels)
        for field in self.positions:
            labels[field] = pictures.move(labels[field], matrix).astype(np.float32)
        for field in self.boxes:
            labels[field] = pictures.move_box(labels[field], matrix).astype(np.float32)
        if self.kept_identities is not None:
            labels[self.identity] = int(np.searchsorted(self.kept_identities, labels[self.identity]))
        return labels | {"image": data, "file": where}


class _Examples(Sequence):
    """The examples of a split, made on demand; small when it is sent to a worker."""

    def __init__(self, listing: _Listing, chosen, make: _Maker):
        self.make, self.path, self._spans_path = make, listing.path, f"{listing.path}.npy"
        spans = listing.spans()[chosen]
        np.save(self._spans_path, spans)
        self._length, self._spans, self._file = len(spans), None, None  # the last two: opened when needed
        settings = repr((make.change, make.find, make.kept_identities)).encode() + spans.tobytes()
        self.fingerprint = hashlib.sha256(listing.digest.digest() + settings).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_spans": None, "_file": None}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> list[dict[str, Any]] | Skipped:
        if self._spans is None:
            self._spans = np.asarray(np.load(self._spans_path, mmap_mode="r"))
            self._file = open(self.path, "rb", buffering=0)
        start, end = self._spans[i].tolist()
        item = pickle.loads(os.pread(self._file.fileno(), end - start, start))  # our own file, written by this run
        return self.make(item)


# --- Converting ---


def convert(dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """Converts a data set with parsed arguments, and prints a summary.

    Returns:
      The summary, which is also in `conversion.json` next to the records.

    Raises:
      UserError: the source is missing, empty or is invalid, the output exists; with `args.strict`, an item
        would be skipped.
    """
    if paths.is_url(args.source):
        raise UserError(f"--source={args.source}: sources are read from a local disk; copy or mount it")
    source, out = Path(args.source).expanduser(), paths.resolve(args.out, "--out")
    if not source.is_dir():
        ask = f"; it holds {dataset.layout}" + (f"; ask for the data at {dataset.homepage}" if dataset.homepage else "")
        raise UserError(f"--source={args.source}: no such folder{ask}")
    records.check_free(out, "--out")
    change = _change(dataset, args)
    find = face_detection.finder(args) if dataset.finds_faces else None
    features, splits = dataset.read(source, args)
    lists = dataset.lists(source, args)
    if args.split:
        if args.split not in splits:
            raise UserError(f"--split={args.split}: {dataset.name} has {', '.join(splits)}")
        splits = {args.split: splits[args.split]}
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "file": tfds.features.Text(), **features})
    counted = [name for name, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    if dataset.identity in features and dataset.identity not in counted:
        counted.append(dataset.identity)
    with named_write_errors(out), _work_folder(out) as work:
        listings = {}
        for split, entries in splits.items():
            listings[split] = _Listing(work / split, counted)
            listings[split].fill(entries, features, args.strict)
            if len(listings[split].ends) == 1:
                raise UserError(
                    f"--source={args.source}: no images for the split '{split}'; it should hold {dataset.layout}"
                )
        features, chosen, kept = _choose(dataset, args, features, listings)
        make = _Maker(source, change, find, dataset.positions, dataset.boxes, dataset.identity, kept, args.strict)
        examples = {split: _Examples(listings[split], chosen[split], make) for split in listings}
        workers = args.workers
        if workers is None:
            workers = 0 if sum(map(len, examples.values())) < _FEW else processors.count()
        options = {k: v for k, v in sorted(vars(args).items()) if k not in ("source", "out", "workers", "beam")}
        summary = {"data_set": dataset.name, "options": options, "splits": {}}

        def summarise(written: Mapping[str, records.SplitSummary]) -> dict[str, str | bytes]:
            for split in written:
                summary["splits"][split] = _summarise(
                    written[split], examples[split], listings[split], chosen[split], features
                )
            return {**lists, "conversion.json": json.dumps(summary, indent=2) + "\n"}

        records.write(
            out,
            records.Info(
                dataset.name,
                features,
                description=dataset.description,
                homepage=dataset.homepage,
                citation=dataset.citation,
                license=dataset.license,
            ),
            examples,
            records.Shards(
                args.format,
                round(args.shard_mb * 1e6),
                num_workers=workers,
                run=None if args.beam is None else functools.partial(_run_with_beam, args.beam),
            ),
            beside=summarise,
        )
    _print(dataset.name, out, summary)
    return summary


@contextlib.contextmanager
def _work_folder(out: epath.Path) -> Iterator[Path]:
    """A local folder for the listings, locked against other conversions to the same folder; removed at the end."""
    if paths.is_url(out):
        with tempfile.TemporaryDirectory() as work:
            yield Path(work)
        return
    work = Path(out.parent, f".{out.name}.listing")
    with records.locked(work):
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _change(dataset: Dataset, args: argparse.Namespace) -> pictures.Change:
    crop, square = getattr(args, "crop", None), getattr(args, "square", None)
    align = getattr(args, "align", False)
    cuts = {"--crop": crop is not None, "--square": square is not None, "--align": align}
    if sum(cuts.values()) > 1:
        one, other = [name for name, given in cuts.items() if given][:2]
        raise UserError(f"{one} and {other} exclude each other: each crops the face")
    if crop is not None and crop < 0 and not dataset.finds_faces:
        raise UserError(f"--crop={crop}: the margin must not be negative")
    if square is not None and not square > 0:
        raise UserError(f"--square={square:g}: must be above 0")
    if args.size < 0:
        raise UserError(f"--size={args.size}: must be a number of pixels")
    if not args.shard_mb > 0:
        raise UserError(f"--shard_mb={args.shard_mb:g}: must be above 0")
    cut = dict(square=crop, smooth=True) if dataset.finds_faces else dict(crop=crop, square=square)
    return pictures.Change(**cut, align=align, size=args.size, lossless=args.lossless, verify=args.verify)


def _choose(dataset: Dataset, args: argparse.Namespace, features, listings: Mapping[str, _Listing]):
    """Which entries of each split to convert, and which identities are kept (None: all, with their numbers)."""
    chosen: dict[str, Any] = {split: slice(None) for split in listings}
    shots, fraction = getattr(args, "shots", 0), getattr(args, "identity_fraction", 1.0)
    if not shots and fraction == 1:
        return features, chosen, None
    if dataset.identity not in features:
        raise UserError("--shots and --identity_fraction need records with identities")
    if not 0 < fraction <= 1:
        raise UserError(f"--identity_fraction={fraction:g}: must be above 0 and at most 1")
    if len(listings) > 1:
        raise UserError(f"--shots and --identity_fraction need --split, one of {', '.join(listings)}")
    (split, listing), field = next(iter(listings.items())), dataset.identity
    labels = np.asarray(listing.counted[field])
    items = np.flatnonzero(labels >= 0)
    indices, kept = few_shot.choose(labels[items], images_per_class=shots, class_share=fraction, seed=args.seed)
    if not len(indices):
        raise UserError(f"--identity_fraction={fraction:g} of {len(np.unique(labels[items]))} identities leaves none")
    chosen[split] = items[indices]
    if isinstance(features[field], tfds.features.ClassLabel):
        names = [features[field].int2str(int(label)) for label in kept]
        features = tfds.features.FeaturesDict({**features, field: tfds.features.ClassLabel(names=names)})
    listing.counted[field] = array.array("q", np.searchsorted(kept, labels).astype(np.int64).tobytes())
    return features, chosen, kept


def _summarise(written: records.SplitSummary, examples: _Examples, listing: _Listing, chosen, features) -> dict:
    num_records = np.ones(len(examples), int)
    for example, number in written.uneven:
        num_records[example] = number
    counted = {field: np.repeat(np.asarray(values)[chosen], num_records) for field, values in listing.counted.items()}
    counts = {}
    for field, values in counted.items():
        feature = features[field]
        if isinstance(feature, tfds.features.ClassLabel):
            numbers = np.bincount(values, minlength=feature.num_classes)
            counts[field] = {name: int(n) for name, n in zip(feature.names, numbers, strict=True)}
        else:
            counts[field] = len(np.unique(values))
    return {
        "records": written.num_records,
        "shards": len(written.shard_lengths),
        "bytes": written.num_bytes,
        "counts": counts,
        "skipped": [dataclasses.asdict(item) for item in written.skipped],
    }


def _run_with_beam(options: str, tasks: Sequence[Callable[[], Any]]) -> None:
    try:
        from data_prep import beam_pipeline
    except ImportError as error:
        raise UserError(f"--beam needs Apache Beam ({error}): pip install 'facejax[beam]'") from error
    beam_pipeline.run(tasks, options)


def _print(name: str, out: epath.Path, summary: Mapping[str, Any]) -> None:
    print(f"{name}: {out}")
    for split, content in summary["splits"].items():
        skipped = content["skipped"]
        faceless = sum(item["reason"] == face_detection.NO_FACE for item in skipped)
        print(
            f"{split}: {content['records']} records in {content['shards']} shards, {content['bytes'] / 1e6:.1f} MB, "
            f"{len(skipped)} skipped{f', {faceless} of them for want of a face' if faceless else ''}"
        )
        for field, counts in content["counts"].items():
            if isinstance(counts, int):
                print(f"  {field}: {counts} different")
            elif len(counts) > _SHOWN_CLASSES:
                print(
                    f"  {field}: {len(counts)} classes, {min(counts.values())} to {max(counts.values())} records each"
                )
            else:
                print(f"  {field}: {', '.join(f'{label} {n}' for label, n in counts.items())}")
        for item in skipped[:_SHOWN]:
            print(f"  skipped {item['where']}: {item['reason']}")
        if len(skipped) > _SHOWN:
            print(f"  ... and {len(skipped) - _SHOWN} more: all of them are in {out / 'conversion.json'}")


def parser(dataset: Dataset) -> argparse.ArgumentParser:
    """The command line of a converter: common arguments and its own."""
    result = argparse.ArgumentParser(
        prog=f"python -m data_prep.{dataset.name}",
        description=f"{dataset.description} --source holds {dataset.layout}.",
        epilog=f"Ask for the data at {dataset.homepage}" if dataset.homepage else None,
        allow_abbrev=False,
    )
    result.add_argument("--source", required=True, help=f"folder with {dataset.layout}".replace("%", "%%"))
    result.add_argument("--out", required=True, help="folder for the records, local or a URL; must not exist")
    result.add_argument("--split", help="convert this split only")
    result.add_argument("--format", choices=("tfrecord", "array_record"), default="tfrecord")
    result.add_argument("--shard_mb", type=float, default=64, help="approximate megabytes per shard")
    result.add_argument("--beam", nargs="?", const="", metavar="OPTIONS", help="run as an Apache Beam pipeline")
    result.add_argument("--workers", type=int, help="processes; default: as many as cores, or 0 for a few images")
    result.add_argument("--strict", action="store_true", help="stop at the first image that would be skipped")
    result.add_argument("--verify", action="store_true", help="decode every image, including those copied unchanged")
    result.add_argument("--size", type=int, default=0, help="shrink the longer side to this many pixels")
    result.add_argument("--lossless", action="store_true", help="PNG instead of JPEG for changed images")
    if dataset.has_box:
        result.add_argument(
            "--crop", type=float, metavar="MARGIN", help="cut to the face's box and this fraction of its size around it"
        )
        result.add_argument(
            "--square",
            type=float,
            metavar="FACTOR",
            help="cut to a square around the box, FACTOR times its longer side",
        )
    if dataset.finds_faces:
        face_detection.add_arguments(result)
    if dataset.has_points:
        result.add_argument("--align", action="store_true", help="align to the 112 px recognition template (or --size)")
    if dataset.identity:
        result.add_argument("--shots", type=int, choices=SHOTS, default=0, help="images of each identity")
        result.add_argument("--identity_fraction", type=float, default=1.0, help="fraction of the identities to keep")
        result.add_argument("--seed", type=int, default=0, help="of the choice by --shots and --identity_fraction")
    dataset.add_arguments(result)
    return result


def main(dataset: Dataset, argv: Sequence[str] | None = None) -> None:
    """Entry point of a converter; exit status 2 for a user's error, 130 after Ctrl-C."""
    args = parser(dataset).parse_args(argv)
    with report_user_errors(dataset.name):
        convert(dataset, args)
