"""Intervals of metrics by bootstrap: the test split is drawn again with replacement, by image or by person."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from facejax.evaluation.statistics import Statistic, value

CONFIDENCE = 0.95
_CHUNK = 1 << 24  # counts in memory at a time


class Estimate(NamedTuple):
    """A metric with the interval that contains `CONFIDENCE` of its draws; NaN if undefined."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def draws(groups, *, number: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit counts in each draw: arrays [R, U] with `number` rows in all.

    All groups are drawn with replacement, in their number; the units of a group count as often as it was drawn.

    Args:
      groups: [U], such as the person on each image, since images of one person are not independent; or
        `numpy.arange(U)`, to draw units.
      number: of draws.
      seed: equal seeds give equal draws, so compared columns are drawn together.
    """
    unique, inverse = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(len(inverse), 1))
    for start in range(0, number, rows):
        counts = rng.multinomial(len(unique), np.full(len(unique), 1 / len(unique)), min(rows, number - start))
        yield counts[:, inverse].astype(np.float64)


def sample(statistics: Mapping[str, Statistic], groups, *, number: int, seed: int) -> dict[str, np.ndarray]:
    """The value of each statistic in each draw: [number]."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for counts in draws(groups, number=number, seed=seed):
        for name, statistic in statistics.items():
            parts[name].append(statistic(counts))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def estimate(statistic: Statistic, units: int, sampled: Sequence[float]) -> Estimate:
    """A metric and the interval between the percentiles of its draws (Efron, 1979).

    Examples:
      >>> from facejax.evaluation.statistics import mean
      >>> right = np.arange(100) < 80
      >>> drawn = sample({"accuracy": mean(right)}, np.arange(100), number=2000, seed=0)["accuracy"]
      >>> found = estimate(mean(right), 100, drawn)
      >>> found.value, 0.06 < found.error < 0.1
      (0.8, True)
    """
    return Estimate(value(statistic, units), *interval(sampled))


def interval(sampled) -> tuple[float, float]:
    """The central interval with `CONFIDENCE` of the draws; NaN if none is defined."""
    sampled = np.asarray(sampled)
    sampled = sampled[~np.isnan(sampled)]
    if not len(sampled):
        return float("nan"), float("nan")
    low, high = np.quantile(sampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
