"""Features of splits, extracted once and cached on disk under a key of everything that they depend on."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import cv2
import numpy as np
import platformdirs
import tensorflow_datasets as tfds
from absl import logging

import facejax
from facejax.columns import Column, Presentation
from facejax.data import records
from facejax.data.records import RecordSource
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError
from facejax.evaluation.protocols.protocol import Split
from facejax.files import named_write_errors

FORMAT = 1  # of an entry and of the extraction; a new number invalidates all entries
_FIELDS, _THERE = "fields.npz", "there"


def default_folder() -> pathlib.Path:
    """The default folder of cached features."""
    return pathlib.Path(platformdirs.user_cache_dir("facejax")) / "features"


class FeatureStore:
    """Features and labels of splits, found in a folder or extracted now.

    An entry holds the features of one column for one split, memory-mapped when they are read, and the split's labels.

    Args:
      folder: local; created if necessary.
      skip_corrupt: skip records that cannot be read, with a warning, instead of stopping.
    """

    def __init__(self, folder: pathlib.Path, *, skip_corrupt: bool = False):
        self._folder, self._skip_corrupt = folder, skip_corrupt

    def get(self, column: Column, source: RecordSource, presentation: Presentation, kinds: Sequence[str]):
        """A `Split` for each of the kinds.

        Raises:
          UserError: an image cannot be read (unless `skip_corrupt`); a feature is not finite; there is no image.
        """
        kinds = sorted(kinds)
        parts = [FORMAT, facejax.__version__, column.digest(presentation), fingerprint(source), kinds]
        key = hashlib.sha256(json.dumps([*parts, self._skip_corrupt]).encode()).hexdigest()[:32]
        entry = self._folder / key
        found = _read(entry, kinds, source)
        if found is None:
            with named_write_errors(entry):
                self._extract(column, source, presentation, kinds, entry)
            found = _read(entry, kinds, source)
        else:
            logging.info("Features of %s for %s (%s): found in the cache", column.name, source.folder, source.split)
        return found

    def _extract(self, column, source, presentation, kinds, entry: pathlib.Path) -> None:
        logging.info("Features of %s for %s (%s) ...", column.name, source.folder, source.split)
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = pathlib.Path(tempfile.mkdtemp(dir=self._folder, prefix=".partial."))
        try:
            images = _Images(source)
            there = np.zeros(len(source), bool)
            arrays = {
                kind: np.lib.format.open_memmap(
                    partial / f"{kind}.npy",
                    "w+",
                    np.float32,
                    (len(source), *column.shape(presentation, kind)),
                )
                for kind in kinds
            }
            for positions, features in column.rows(images, presentation, self._unreadable(source)):
                for kind, array in arrays.items():
                    array[positions] = features[kind]
                    _check_finite(column.name, kind, features[kind], source)
                there[positions] = True
            if not there.any():
                raise UserError(f"{source.folder} ({source.split}) has no images to evaluate on")
            for array in arrays.values():
                array.flush()
            np.savez(partial / _FIELDS, **{_THERE: there}, **images.fields)
            try:
                os.replace(partial, entry)
            except OSError:
                if not entry.exists():  # otherwise another process wrote it
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _unreadable(self, source):
        def unreadable(position: int, reason: str) -> None:
            if not self._skip_corrupt:
                raise UserError(f"{reason}; --config.skip_corrupt=True skips damaged records")
            logging.warning("skipped %s", reason)

        return unreadable


class _Images:
    """Images of records by position; keeps their labels, which are read with them."""

    def __init__(self, source: RecordSource):
        self._source = source
        self.fields, self._maps = {}, []
        for name, feature in source.features.items():
            info = feature.get_tensor_info()
            if isinstance(info, dict) or None in info.shape or info.np_dtype == np.object_ or name == "image":
                continue
            self.fields[name] = np.zeros((len(source), *info.shape), info.np_dtype)
            if isinstance(feature, tfds.features.Image):  # such as the true regions
                self._maps.append(name)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, position: int, at_least: int) -> np.ndarray:
        try:
            record, image = records.read_with_image(self._source, position, at_least=at_least)
        except CorruptRecord as error:
            raise ValueError(str(error)) from error
        for name, column in self.fields.items():
            value = record[name]
            if name in self._maps:
                value = cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_UNCHANGED).reshape(column.shape[1:])
            column[position] = value
        return image


def _check_finite(name, kind, values, source) -> None:
    bad = int((~np.isfinite(values.reshape(len(values), -1))).any(1).sum())
    if bad:
        raise UserError(
            f"{name}: the features '{kind}' of {bad} of {len(values)} images of {source.folder} ({source.split}) are "
            "not finite: the encoder has diverged, or its weights are damaged"
        )


def _read(entry: pathlib.Path, kinds: Sequence[str], source: RecordSource) -> dict[str, Split] | None:
    """The splits of an entry; None if there is none, or a damaged one."""
    try:
        with np.load(entry / _FIELDS, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
        arrays = {kind: np.load(entry / f"{kind}.npy", mmap_mode="r", allow_pickle=False) for kind in kinds}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError) as error:
        logging.warning("%s is damaged (%s): the features are extracted again", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        return None
    there = fields.pop(_THERE)
    if not there.all():
        arrays = {kind: array[there] for kind, array in arrays.items()}
        fields = {name: values[there] for name, values in fields.items()}
    where = f"{source.folder} ({source.split})"
    return {kind: Split(array, fields, there, where) for kind, array in arrays.items()}


def fingerprint(source: RecordSource) -> str:
    """A digest that identifies a split: its description, and name, size and time of its files."""
    digest = hashlib.sha256(f"{source.split} {len(source)}".encode())
    for path in sorted(source.folder.iterdir()):
        if path.name in ("dataset_info.json", "features.json"):
            digest.update(path.read_bytes())
        elif f"-{source.split}." in path.name and not path.name.startswith("."):
            status = path.stat()
            digest.update(f"{path.name} {status.length} {status.mtime}".encode())
    return digest.hexdigest()
