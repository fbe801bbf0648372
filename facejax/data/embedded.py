"""The embedded data set: synthetic faces, rendered where a config names them and they do not exist yet."""

import os
from collections.abc import Iterable

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

import synthetic_faces
from facejax import paths, processors
from facejax.data import records
from facejax.errors import UserError
from facejax.progress import phase


class PlannedSplit:
    """Records that are not rendered yet: their number, identities and fields.

    It replaces a `records.RecordSource` where only numbers, features and identities are read, so a config can be
    checked before anything is rendered.

    Args:
      settings: `config.synthetic_faces`.
      split: name of the split.

    Raises:
      UserError: there is no such split.
    """

    def __init__(self, settings, split: str):
        people = synthetic_faces.split_identities(settings.train_identities, settings.test_identities)
        if split not in people:
            raise UserError(f"{settings.folder}, to be rendered, has no split '{split}'; it has {', '.join(people)}")
        self.folder, self.split = paths.resolve(settings.folder), split
        self.features = synthetic_faces.features(settings.size)
        self._identities = np.repeat(people[split], settings.images_per_identity)

    def __len__(self) -> int:
        return len(self._identities)

    def __getitem__(self, i: int) -> dict:
        return {"identity": self._identities[i]}

    def has_labels(self, fields: set[str]) -> bool:
        """Whether the fields are known before rendering; a field that does not exist counts as known."""
        return not (fields & self.features.keys()) - {"identity"}

    def __repr__(self) -> str:
        return f"{self.folder} ({self.split}), to be rendered"


def planned(settings, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], PlannedSplit]:
    """Those of the places (folder, split) that `render_if_missing` would render.

    Args:
      settings: `config.synthetic_faces`; None renders nothing.
      places: all that a run reads.

    Raises:
      UserError: there is no such split.
    """
    if settings is None:
        return {}
    rendered = paths.resolve(settings.folder, "config.synthetic_faces.folder")
    if rendered.exists():
        return {}
    return {place: PlannedSplit(settings, place[1]) for place in places if paths.resolve(place[0]) == rendered}


def render_if_missing(settings, needed) -> None:
    """Renders the data set that `settings` describes, if a run needs it and its folder does not exist.

    Args:
      settings: `config.synthetic_faces`: `folder`, and the arguments of `generate`; None renders nothing.
      needed: the data folders that the run is going to read.
    """
    if settings is None:
        return
    folder = paths.resolve(settings.folder, "config.synthetic_faces.folder")
    if folder not in {paths.resolve(other) for other in needed}:
        return
    # On a shared disk process 0 renders for all; with separate disks the others follow.
    for turn in (jax.process_index() == 0, True):
        if turn and not folder.exists():
            arguments = {key: value for key, value in settings.items() if key != "folder"}
            logging.info("%s does not exist: rendering synthetic faces (%s)", settings.folder, arguments)
            generate(settings.folder, **arguments)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("synthetic faces")


def generate(
    out: str | os.PathLike,
    *,
    size: int = 112,
    train_identities: int = 200,
    test_identities: int = 50,
    images_per_identity: int = 12,
    seed: int = 0,
    file_format: records.FileFormat = "tfrecord",
) -> dict[str, records.SplitSummary]:
    """Renders the data set and writes it to the folder `out`, which must not exist.

    The same arguments give the same bytes. Prints a summary: records of each split and expression.

    Args:
      out: folder, a local path or a URL.
      size: side of a face in pixels, 16 to 256.
      train_identities: people in the split `train`.
      test_identities: other people, in the split `test`.
      images_per_identity: images of each of them.
      seed: of everything random.
      file_format: "tfrecord" or "array_record".

    Returns:
      A `records.SplitSummary` for each split.

    Raises:
      UserError: a number out of range, or `out` exists.
    """
    smallest, largest = synthetic_faces.SIZES
    if not smallest <= size <= largest:
        raise UserError(f"--size={size}: faces have {smallest} to {largest} pixels; choose a size in between")
    counts = dict(
        train_identities=train_identities, test_identities=test_identities, images_per_identity=images_per_identity
    )
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"--{name}={value}: must be at least 1")
    if seed < 0:
        raise UserError(f"--seed={seed}: must not be negative")
    out = paths.resolve(out, "--out")
    records.check_free(out, "--out")
    people = synthetic_faces.split_identities(train_identities, test_identities)
    drawing = dict(size=size, seed=seed, threads=processors.count())
    splits = {
        name: synthetic_faces.Examples(identities, images_per_identity, **drawing)
        for name, identities in people.items()
    }
    with phase(f"Compiling the renderer for {size} x {size} pixels"):
        synthetic_faces.renderer(size)
    info = records.Info(
        "synthetic_faces",
        synthetic_faces.features(size),
        description=(
            f"Rendered faces, {images_per_identity} images of each identity, seed {seed}. "
            f"Action units: {', '.join(f'AU{n} {what}' for n, what in synthetic_faces.ACTION_UNITS.items())}. "
            f"Attributes: {', '.join(synthetic_faces.ATTRIBUTES)}. Regions: {', '.join(synthetic_faces.REGIONS)}. "
            "Pose: yaw, pitch, roll in degrees. Landmarks: iBUG 68, x and y in pixels from the top left corner."
        ),
        license="Apache-2.0",
    )
    summaries = records.write(out, info, splits, records.Shards(file_format))
    for name, split in splits.items():
        classes = ", ".join(
            f"{label} {n}" for label, n in zip(synthetic_faces.EXPRESSIONS, split.expressions, strict=True)
        )
        print(f"{name}: {summaries[name].num_records} records, {len(people[name])} identities; {classes}")
    return summaries
