"""Training methods, one file each. `create(config, ...)` gives the one that the config names."""

from facejax.methods import fra, lafs, pcl, simclr, supervised
from facejax.methods.method import Method

METHODS = {
    "fra": fra.create,
    "lafs": lafs.create,
    "pcl": pcl.create,
    "simclr": simclr.create,
    "supervised": supervised.create,
}


def create(config, *, steps_per_epoch: int, total_steps: int) -> Method:
    """Builds the method `config.method`.

    Args:
      config: an `ml_collections.ConfigDict` that `facejax.config_schema.check.check` has passed.
      steps_per_epoch: updates an epoch, which the schedules count in.
      total_steps: updates of the whole run.
    """
    return METHODS[config.method](config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)


__all__ = ["METHODS", "Method", "create"]
