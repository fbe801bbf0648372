"""The embedded data set: synthetic faces, rendered where a config names them and they are not there yet."""

from collections.abc import Iterable

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from facejax import paths
from facejax.errors import UserError


class PlannedSplit:
    """Records that are not rendered yet: how many there will be, of whom, with which fields.

    It takes the place of a `records.RecordSource` where only numbers, features and identities are read, so that a
    config can be checked before anything is rendered.

    Args:
      settings: `config.synthetic_faces`.
      split: name of the split.

    Raises:
      UserError: there will be no such split.
    """

    def __init__(self, settings, split: str):
        from data_prep import synthetic_faces  # only a run that renders needs the renderer

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
        """Whether the fields are known already; others are drawn with the faces. A field that will not be counts."""
        return not (fields & self.features.keys()) - {"identity"}

    def __repr__(self) -> str:
        return f"{self.folder} ({self.split}), to be rendered"


def planned(settings, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], PlannedSplit]:
    """Those of the places (folder, split) that `render_if_missing` would render.

    Args:
      settings: `config.synthetic_faces`; None renders nothing.
      places: all that a run reads.

    Raises:
      UserError: a split that there will not be.
    """
    if settings is None:
        return {}
    rendered = paths.resolve(settings.folder, "config.synthetic_faces.folder")
    if rendered.exists():
        return {}
    return {place: PlannedSplit(settings, place[1]) for place in places if paths.resolve(place[0]) == rendered}


def render_if_missing(settings, needed) -> None:
    """Renders the data set that `settings` describes, if it is needed and its folder does not exist.

    Args:
      settings: `config.synthetic_faces`: `folder`, and the arguments of `data_prep.synthetic_faces.generate`; None
        renders nothing.
      needed: the data folders that the run is going to read.
    """
    if settings is None:
        return
    folder = paths.resolve(settings.folder, "config.synthetic_faces.folder")
    if folder not in {paths.resolve(other) for other in needed}:
        return
    # With a shared disk process 0 renders for all, with disks of their own the others follow.
    for turn in (jax.process_index() == 0, True):
        if turn and not folder.exists():
            arguments = {key: value for key, value in settings.items() if key != "folder"}
            from data_prep import synthetic_faces  # only a run that renders needs the renderer

            logging.info("There is no %s yet: rendering synthetic faces (%s)", settings.folder, arguments)
            synthetic_faces.generate(settings.folder, **arguments)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("synthetic faces")
