"""Training methods, one file each. `create(config, ...)` builds the one that the config names."""

from facejax.methods.alignment import Alignment
from facejax.methods.byol import BYOL
from facejax.methods.finetune import Finetune
from facejax.methods.fra import FRA
from facejax.methods.lafs import LAFS
from facejax.methods.method import Method
from facejax.methods.pcl import PCL
from facejax.methods.simclr import SimCLR
from facejax.methods.supervised import Supervised

METHODS: dict[str, type[Method]] = {
    "alignment": Alignment,
    "byol": BYOL,
    "finetune": Finetune,
    "fra": FRA,
    "lafs": LAFS,
    "pcl": PCL,
    "simclr": SimCLR,
    "supervised": Supervised,
}


def create(config, *, steps_per_epoch: int, total_steps: int) -> Method:
    """Builds the method `config.method`; see `Method` for the arguments."""
    return METHODS[config.method](config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)


__all__ = ["METHODS", "Method", "create"]
