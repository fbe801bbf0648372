"""The embedded data set: synthetic faces, rendered where a config names them and they are not there yet."""

import jax
from absl import logging
from jax.experimental import multihost_utils

from facejax import paths


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
