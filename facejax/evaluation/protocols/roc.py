"""Reading and drawing a receiver operating characteristic: what pair and template verification share."""

from collections.abc import Iterable

import numpy as np

from facejax.evaluation.protocols.protocol import Curve

LABELS = ("pairs of two people that are accepted (FAR)", "pairs of one that are accepted (TAR)")


def levels_of(same: np.ndarray, levels: Iterable[float]) -> list[float]:
    """The false accept rates that are one pair or more, of pairs with `same` bool [P]."""
    return [level for level in levels if (~same).sum() * level >= 1]


def metric(level: float) -> str:
    """Name of the true accept rate at a level.

    Examples:
      >>> metric(1e-4)
      'tar_at_far_1e-4'
    """
    return f"tar_at_far_{level:.0e}".replace("e-0", "e-")


def curve(far: np.ndarray, tar: np.ndarray) -> Curve:
    """The picture's curve, [K] each."""
    return Curve(far, tar, LABELS, log_x=True)
