"""The order of records where an item is a group: an identity, from which a random video and a random frame are drawn.

    tree = Hierarchy.read(source, ("identity", "video"))
    order = ItemOrder(tree, streams=(256, 256, 10), batch_size=528, seed=0)
    record = source[order.record_at(position)]  # for every position of the endless sequence of records

There is no state: the record at a position is a function of (seed, position) alone. A killed run therefore resumes
exactly, and hosts and worker processes need no communication.
"""

import functools
import itertools
import zlib
from collections.abc import Sequence

import grain
import numpy as np

from facejax.data import labels
from facejax.data.records import RecordSource
from facejax.errors import UserError


class Hierarchy:
    """Records grouped by their labels, from the outermost group inwards.

    Args:
      records: indices of the records, int [N].
      labels: an array [N] of integers or texts for each level; without any, every record is an item. Labels only need
        to differ within the group above: every identity may have a video 0.

    Examples:
      >>> tree = Hierarchy(np.arange(3), [np.array([7, 7, 9]), np.array(["a", "b", "a"])])
      >>> len(tree), tree.pick(0, [1, 0]), tree.pick(1, [5, 8])  # 7, its second video; 9, its only one
      (2, 1, 2)
    """

    def __init__(self, records: np.ndarray, labels: Sequence[np.ndarray] = ()):
        codes = [np.unique(level, return_inverse=True)[1] for level in labels]
        order = np.lexsort((records, *reversed(codes)))  # makes the records of a group contiguous
        self._records = np.asarray(records)[order]
        different = np.zeros(max(len(records) - 1, 0), bool)
        borders = []  # of the groups of each level, counted in records
        for code in codes:
            different = different | (np.diff(code[order]) != 0)
            borders.append(np.concatenate([[0], np.flatnonzero(different) + 1, [len(records)]]))
        borders.append(np.arange(len(records) + 1))
        # Counted in groups of the level below: group g of level k holds starts[k][g] to starts[k][g + 1] of them.
        self._starts = [np.searchsorted(inner, outer) for outer, inner in itertools.pairwise(borders)]

    @classmethod
    def read(cls, source: RecordSource, fields: Sequence[str], *, skip_corrupt: bool = False) -> "Hierarchy":
        """The hierarchy of a source's records by integer or text fields; without fields every record is an item.

        Args:
          source: the records, all of which are read once; see `labels.read`, also for errors.
          fields: labels of the levels, outermost first: ("identity", "video").
          skip_corrupt: leave out records that cannot be read.
        """
        if not fields:
            return cls(np.arange(len(source)))
        return cls(*labels.read(source, fields, key="config.data.hierarchy", skip_corrupt=skip_corrupt))

    def __len__(self) -> int:
        """Number of items."""
        return len(self._starts[0]) - 1 if self._starts else len(self._records)

    @property
    def depth(self) -> int:
        """Number of choices that lead from an item to a record."""
        return len(self._starts)

    def pick(self, item: int, choices: Sequence[int]) -> int:
        """The record that `choices`, one per level and modulo the number of groups there, lead to from an item."""
        for starts, choice in zip(self._starts, choices, strict=True):
            item = starts[item] + int(choice) % (starts[item + 1] - starts[item])
        return int(self._records[item])

    def checksum(self) -> int:
        """A digest that identifies the hierarchy."""
        return functools.reduce(
            lambda crc, array: zlib.crc32(array.tobytes(), crc), self._starts, zlib.crc32(self._records)
        )


class ItemOrder:
    """The endless order of records for updates that draw independent batches of items.

    A batch holds the streams one after the other. In each epoch every stream visits the items in its own permutation,
    so no item occurs twice in a stream's part of a batch. From each item a random record is taken.

    Args:
      hierarchy: the items.
      streams: rows of a batch for each stream.
      batch_size: rows of a batch on all hosts, the sum of the streams or more; the remaining rows go to the last
        stream.
      seed: of everything random.

    Raises:
      UserError: fewer items than the largest stream has rows.
    """

    def __init__(self, hierarchy: Hierarchy, *, streams: Sequence[int], batch_size: int, seed: int):
        self._hierarchy, self._seed, self._batch_size = hierarchy, seed, batch_size
        self._ends = np.cumsum([*streams[:-1], batch_size - sum(streams[:-1])])
        self._sizes = np.diff(self._ends, prepend=0)
        self.steps_per_epoch = len(hierarchy) // int(self._sizes.max())
        if not self.steps_per_epoch:
            raise UserError(
                f"the data set has {len(hierarchy)} items (groups by the first field of config.data.hierarchy, or "
                f"records), fewer than the {self._sizes.max()} of a batch: use smaller batches or more data"
            )

    def __len__(self) -> int:
        """Records in an epoch."""
        return self.steps_per_epoch * self._batch_size

    def record_at(self, position: int) -> int:
        """The record at a position of the endless order; batch b starts at position b * batch_size."""
        batch, row = divmod(position, self._batch_size)
        epoch, step = divmod(batch, self.steps_per_epoch)
        stream = int(np.searchsorted(self._ends, row, "right"))
        size = int(self._sizes[stream])
        place = step * size + row - (int(self._ends[stream]) - size)
        item = grain.experimental.index_shuffle(
            place, max_index=len(self._hierarchy) - 1, seed=_draw(self._seed, epoch, stream)[0], rounds=4
        )
        choices = _draw(self._seed, epoch, stream, place, count=self._hierarchy.depth)
        return self._hierarchy.pick(item, choices)

    def fingerprint(self) -> dict[str, int]:
        """Everything that the order depends on."""
        return {
            "seed": self._seed,
            "num_records": len(self),
            "global_batch_size": self._batch_size,
            "checksum": zlib.crc32(self._ends.tobytes(), self._hierarchy.checksum()),
        }


def _draw(*key: int, count: int = 1) -> list[int]:
    """Random integers that depend on the key only."""
    return np.random.SeedSequence(key).generate_state(count).tolist()
