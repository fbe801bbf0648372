"""Labels of all records of a split, read once and cached next to them."""

import contextlib
import io
import logging
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from facejax.data.records import RecordSource
from facejax.data.selection import Selection
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError
from facejax.files import write_atomically

_READERS = 16  # threads, which mostly wait for the disk


def read(
    source: RecordSource | Selection, fields: Sequence[str], *, key: str, skip_corrupt: bool = False
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The records that can be read, and their labels.

    This reads all records. If all of them are readable and the folder is writable, the labels are then cached next to
    them.

    Args:
      source: the records.
      fields: integers or texts.
      key: the config key that names the fields, for errors.
      skip_corrupt: leave out records that cannot be read.

    Returns:
      Indices of the records, int [N], and an array [N] for each field.

    Raises:
      UserError: a field that the records lack, or that is neither an integer nor a text; no record can be read.
      CorruptRecord: a record cannot be read (unless `skip_corrupt`).
    """
    if isinstance(source, Selection):
        readable, columns = read(source.source, fields, key=key, skip_corrupt=skip_corrupt)
        there, of_source = np.isin(source.indices, readable), np.isin(readable, source.indices)
        pairs = zip(fields, columns, strict=True)
        return np.flatnonzero(there), [source.labels(field, column[of_source]) for field, column in pairs]
    for field in fields:
        feature = source.features[field] if field in source.features else None
        if not isinstance(feature, tfds.features.Text) and (
            feature is None or feature.shape != () or not np.issubdtype(feature.np_dtype, np.integer)
        ):
            raise UserError(
                f"{key}: {source} has no field '{field}' that is an integer or a text; "
                f"it has: {', '.join(sorted(source.features))}"
            )
    cache = source.folder / f".{source.split}.{'-'.join(fields)}.npz"
    try:
        with np.load(io.BytesIO(cache.read_bytes())) as kept:
            columns = [kept[field] for field in fields]
        integers = [not isinstance(source.features[field], tfds.features.Text) for field in fields]
        if all(
            c.shape == (len(source),) and c.dtype.kind in ("U", "iu")[i] for c, i in zip(columns, integers, strict=True)
        ):
            return np.arange(len(source)), columns
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):
        pass  # no cache, or not readable: read the records

    def row(i):
        try:
            record = source[i]
        except CorruptRecord as error:
            if not skip_corrupt:
                raise
            logging.warning("skipped %s", error)
            return None
        return i, *(record[field] for field in fields)

    with ThreadPoolExecutor(_READERS) as pool:
        rows = tqdm(pool.map(row, range(len(source))), "reading labels", len(source), unit=" records", delay=2)
        rows = [row for row in rows if row]
    if not rows:
        raise UserError(f"{source}: no record can be read; copy or convert the data again")
    indices, *columns = (np.array(column) for column in zip(*rows, strict=True))
    if len(indices) == len(source) and source.folder.exists():  # false for records that are not rendered yet
        content = io.BytesIO()
        np.savez_compressed(content, **dict(zip(fields, columns, strict=True)))
        with contextlib.suppress(UserError, OSError):  # not writable: the labels stay in memory
            write_atomically(cache, content.getvalue())
    return indices, columns
