"""The order of records in which every class is drawn as often as any other."""

import functools
import zlib

import numpy as np

from facejax.data import labels
from facejax.data.pipeline import GlobalShuffle
from facejax.data.records import RecordSource


class BalancedOrder:
    """Draws with replacement, as many an epoch as there are records, each with a weight of 1 / (records of its class).

    What is drawn in an epoch is a function of (seed, epoch).

    Args:
      records: indices of the records, int [N].
      classes: their labels, [N].
      shuffle: the order whose place it takes; epochs are as long as its.
      seed: of the draws.

    Source: `ImbalancedDatasetSampler`, with which FRA's official code fine-tunes on AffectNet.
    """

    def __init__(self, records: np.ndarray, classes: np.ndarray, shuffle: GlobalShuffle, *, seed: int):
        _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
        self._records, self._seed, self._shuffle = records, seed, shuffle
        self._shares = np.cumsum(1 / counts[codes])
        self.steps_per_epoch = shuffle.steps_per_epoch
        self._checksum = zlib.crc32(codes.astype(np.int64).tobytes())

    @classmethod
    def read(
        cls, source: RecordSource, label: str, shuffle: GlobalShuffle, *, seed: int, skip_corrupt: bool = False
    ) -> "BalancedOrder":
        """The order of a source's records by an integer or text field; see `labels.read`, also for errors."""
        records, (classes,) = labels.read(source, (label,), key="config.data.label", skip_corrupt=skip_corrupt)
        return cls(records, classes, shuffle, seed=seed)

    def record_at(self, position: int) -> int:
        """The record at a position of the endless order."""
        epoch, place = divmod(position, len(self._records))
        return int(self._records[self._drawn(epoch)[place]])

    @functools.lru_cache(2)  # noqa: B019 - one order lives as long as its run
    def _drawn(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, epoch))
        return np.searchsorted(self._shares, rng.uniform(0, self._shares[-1], len(self._records)), "right")

    def fingerprint(self) -> dict[str, int]:
        """What the order depends on."""
        return {**self._shuffle.fingerprint(), "checksum": self._checksum}
