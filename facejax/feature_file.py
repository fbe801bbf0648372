"""Features of photos in one file, `.npz` or Parquet."""

import dataclasses
import io
import os
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from facejax.errors import UserError
from facejax.files import write_atomically


@dataclasses.dataclass(frozen=True)
class PhotoFeatures:
    """Features of the faces in the photos of a folder.

    Attributes:
      kind: of the features.
      paths: of each face, relative to the folder, with slashes.
      features: float32 [N, D].
      boxes: of the face in its photo, float32 [N, 4], x1, y1, x2, y2 in pixels; None for whole photos.
    """

    kind: str
    paths: Sequence[str]
    features: np.ndarray
    boxes: np.ndarray | None

    @property
    def labels(self) -> list[str] | None:
        """Name of the top-level sub-folder, "" for photos outside of one; None without sub-folders."""
        labels = [path.partition("/")[0] if "/" in path else "" for path in self.paths]
        return labels if any(labels) else None


def writer(out: epath.Path) -> Callable[[epath.Path, PhotoFeatures], None]:
    """The function that writes such a file.

    Raises:
      UserError: it exists already, is of another kind, or a package for it is missing.
    """
    if out.suffix not in WRITERS:
        raise UserError(f"--out={out}: name a file that ends in {' or '.join(WRITERS)}")
    if out.exists():
        raise UserError(f"--out={out} exists already: choose another name, or remove it first")
    if out.suffix == ".parquet":
        _pyarrow()
    return WRITERS[out.suffix]


def _write_npz(out: epath.Path, photos: PhotoFeatures) -> None:
    columns = {"paths": np.array(_printable(photos.paths)), "features": photos.features, "kind": np.array(photos.kind)}
    if photos.labels is not None:
        columns["labels"] = np.array(_printable(photos.labels))
    if photos.boxes is not None:
        columns["box"] = photos.boxes
    buffer = io.BytesIO()
    np.savez(buffer, **columns)
    write_atomically(out, buffer.getvalue())


def _write_parquet(out: epath.Path, photos: PhotoFeatures) -> None:
    pyarrow, parquet = _pyarrow()

    def rows(array):
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(array.ravel()), array.shape[1])

    columns = {"path": pyarrow.array(_printable(photos.paths)), "features": rows(photos.features)}
    if photos.labels is not None:
        columns["label"] = pyarrow.array(_printable(photos.labels))
    if photos.boxes is not None:
        columns["box"] = rows(photos.boxes)
    table = pyarrow.table(columns).replace_schema_metadata({"kind": photos.kind})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    write_atomically(out, buffer.getvalue())


def _pyarrow():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f"--out: Parquet needs pyarrow ({error}): pip install 'facejax[parquet]'") from error
    return pyarrow, parquet


WRITERS = {".npz": _write_npz, ".parquet": _write_parquet}


def _printable(names: Sequence[str]) -> list[str]:
    """Names as valid UTF-8: invalid bytes on disk appear as \\xNN."""
    return [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
