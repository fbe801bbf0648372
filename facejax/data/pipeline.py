"""From records to batches on the mesh: a global shuffle for each epoch, decoding in threads or processes, prefetching.

    source = records.open_split(folder, "train")
    order = GlobalShuffle(source, batch_size=64, seed=0)
    for batch in TrainingBatches(source, order, Reading(64, image_size=256), sharding): ...

Order: position p of the endless sequence of records is place p % n of epoch p // n, each epoch in a permutation of its
own, a function of (seed, epoch) alone. Step t takes positions t B H to (t + 1) B H (H hosts, B records each), host h
the h-th block of B. So the global batches do not depend on the number of hosts, worker processes or threads.

Threads, processes and prefetching are grain's, the order is ours: a corrupt record is replaced by the next of the
order, PCL's items are drawn and no permutation, and the position that a checkpoint holds must mean the same record on
any number of hosts and workers, which grain's `shuffle`, `repeat` and per-worker states do not promise together.
"""

import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import grain
import jax
import numpy as np
import tensorflow_datasets as tfds
from absl import flags

from facejax import processors
from facejax.data import images, records
from facejax.data.records import RecordSource
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError
from facejax.interruptions import ctrl_c_blocked
from facejax.preprocessing import Preprocessing

Batch = dict[str, Any]

FULL_SIZE = "full_size"  # a field that every record has: height and width of its image, in whose pixels positions are
ORIGINS = {"center": 0.0, "corner": 0.5}  # what (0, 0) is there, and where the middle of the first pixel is

_MAX_PROBES = 10_000  # records tried in the place of a corrupt one


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a host reads its share of the batches.

    Attributes:
      batch_size: B, records in a batch of this host.
      image_size: S, side of the square that an image is fitted into.
      fields: features of a batch; "image" is decoded, the others are stacked. `FULL_SIZE` is one too.
      skip_corrupt: leave out a record that cannot be read or decoded, with a logged warning that names file and record,
        and count it; else it is an error.
      num_workers: worker processes; 0: threads of this process, which is enough where decoding is the only work.
      shard_index: this host, of `shard_count` (`jax.process_index()`, `jax.process_count()`).
      shard_count: H, hosts.
    """

    batch_size: int
    image_size: int
    fields: Sequence[str] = ("image",)
    skip_corrupt: bool = False
    num_workers: int = 0
    shard_index: int = 0
    shard_count: int = 1


class GlobalShuffle:
    """The endless order of records: all of them in each epoch, in a permutation that depends on (seed, epoch) alone.

    Args:
      source: the records.
      batch_size: records in a batch of all hosts.
      seed: of the shuffle.
      min_steps_per_epoch: what the schedules count as an epoch has at least this many steps, however few records there
        are. Above 0, a batch may be larger than the data set and then holds some records more than once.

    Raises:
      UserError: no records; fewer records than a batch takes, with `min_steps_per_epoch` 0.
    """

    def __init__(self, source: Sequence, batch_size: int, seed: int, *, min_steps_per_epoch: int = 0):
        self._num_records, self._batch_size, self._seed = len(source), batch_size, seed
        self.steps_per_epoch = max(self._num_records // batch_size, min_steps_per_epoch)
        if not (self._num_records and self.steps_per_epoch):
            raise UserError(
                f"{source}: {self._num_records} records are fewer than config.batch_size={batch_size}; "
                f"add data or set --config.batch_size={2 ** max(self._num_records.bit_length() - 1, 0)}"
            )

    def record_at(self, position: int) -> int:
        """The record at a position of the order; batch b has positions b * batch_size and on."""
        epoch, place = divmod(position, self._num_records)
        return grain.experimental.index_shuffle(
            place, max_index=self._num_records - 1, seed=_epoch_seed(self._seed, epoch), rounds=4
        )

    def fingerprint(self) -> dict[str, int]:
        """What the order depends on."""
        return {"seed": self._seed, "num_records": self._num_records, "global_batch_size": self._batch_size}


@functools.lru_cache(8)
def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def evaluation_batches(
    source: RecordSource, reading: Reading, preprocessing: Preprocessing | None = None
) -> Iterator[Batch]:
    """All records once, in order; every host yields the same number of batches.

    Args:
      source: the records.
      reading: global batch k is records k B H to (k + 1) B H. A skipped record's mask is false, its values are zero.
      preprocessing: how images are fitted to S x S; None: squashed.

    Yields:
      {"image": uint8 [B, S, S, 3], "mask": bool [B], "skipped": int32 [B], other fields: [B, ...]}; the last batch is
      padded with zeros to the full size, `mask` is false there.

    Raises:
      UserError: a field that the records lack.
      CorruptRecord: a bad record, without `skip_corrupt`.
    """
    return _iterate(_EvaluationBatches(source, reading, preprocessing or Preprocessing(reading.image_size)))


def batch_shapes(
    source: RecordSource, batch_size: int, image_size: int, fields: Sequence[str] = ("image",)
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every array in a global batch on the mesh; arguments and errors as for `TrainingBatches`."""
    shapes = {"image": ((image_size, image_size, 3), np.dtype(np.uint8)), "size": ((2,), np.dtype(np.int32))}
    shapes |= {field: _shape_and_dtype(source, field) for field in fields if field != "image"}
    return {name: ((batch_size, *shape), dtype) for name, (shape, dtype) in shapes.items()}


def _iterate(batches: "_Batches", start: int = 0) -> grain.DatasetIterator:
    """Batches from `start` on, made ahead of time by a thread or by processes.

    The unit that grain hands to threads and processes is a whole batch, so what is in it does not depend on their
    number; within a batch the records are decoded by a thread pool.
    """
    dataset = grain.MapDataset.source(batches).slice(slice(start, None))
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    if workers := batches.reading.num_workers:
        if not flags.FLAGS.is_parsed():  # grain reads its flags when it starts a process, also where absl did not parse
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(workers, per_worker_buffer_size=2))
        dataset = dataset.map(_copied)  # out of the shared memory, which must not be in use when the process ends
    return iter(dataset)


def _copied(batch: Batch) -> Batch:
    return {key: np.array(value) for key, value in batch.items()}


class _Batches:
    """Random access to batches: grain's source, picklable for its worker processes."""

    def __init__(self, source: RecordSource, reading: Reading):
        if "image" not in source.features or not isinstance(source.features["image"], tfds.features.Image):
            raise UserError(f"{source} has no images in a field 'image'; it has {', '.join(sorted(source.features))}")
        self.reading, self._source = reading, source
        self._fields = {field: _shape_and_dtype(source, field) for field in reading.fields if field != "image"}

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        cv2.setNumThreads(0)  # one thread for each image is enough
        threads = max(1, processors.count() // max(1, self.reading.num_workers))
        return ThreadPoolExecutor(threads, "decode")

    @property
    def _needed(self) -> int:
        """Pixels that a side of an image has use for."""
        return self.reading.image_size

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_pool"}

    def __getitem__(self, batch: int) -> Batch:
        reading, rows = self.reading, self.reading.batch_size
        arrays = {"image": np.zeros((rows, reading.image_size, reading.image_size, 3), np.uint8)}
        arrays |= {field: np.zeros((rows, *shape), dtype) for field, (shape, dtype) in self._fields.items()}
        arrays |= {"skipped": np.zeros(rows, np.int32), **self._extra_arrays()}
        start = (batch * reading.shard_count + reading.shard_index) * rows
        list(self._pool.map(lambda row: self._fill(arrays, row, start + row), range(rows)))
        return arrays

    def _extra_arrays(self) -> Batch:
        """What a kind of batch has beside image, skipped and fields, zero."""
        raise NotImplementedError

    def _fill(self, arrays: Batch, row: int, position: int) -> None:
        """Puts what stands at `position` of the order into the row of all arrays."""
        raise NotImplementedError

    def _load(self, arrays: Batch, row: int, i: int) -> np.ndarray | None:
        """Puts the fields of record i into the row and returns its image; None if it is corrupt and may be skipped."""
        try:
            # Where a JPEG is at least twice as large as needed, its decoder may shrink it to no less than that.
            enough = 0 if FULL_SIZE in self._fields else 2 * self._needed
            record, image = records.read_with_image(self._source, i, at_least=enough)
        except CorruptRecord as error:
            if not self.reading.skip_corrupt:
                raise
            logging.warning("skipped %s", error)
            arrays["skipped"][row] += 1
            return None
        for field in self._fields:
            arrays[field][row] = image.shape[:2] if field == FULL_SIZE else record[field]
        return image


def _shape_and_dtype(source: RecordSource, field: str) -> tuple[tuple[int, ...], np.dtype]:
    if field == FULL_SIZE:
        return (2,), np.dtype(np.int32)
    if field not in source.features:
        raise UserError(f"{source} has no field '{field}'; it has {', '.join(sorted(source.features))}")
    info = source.features[field].get_tensor_info()
    if isinstance(info, dict) or None in info.shape or info.np_dtype == np.object_:
        raise UserError(f"{source}: field '{field}' is no array of fixed shape and cannot be batched")
    return info.shape, info.np_dtype


class _OrderedBatches(_Batches):
    """Batch t of an endless order, images fitted."""

    def __init__(self, source, order, reading):
        super().__init__(source, reading)
        self.order = order

    def __len__(self) -> int:
        return sys.maxsize // (self.reading.batch_size * self.reading.shard_count)

    def _extra_arrays(self) -> Batch:
        return {"size": np.zeros((self.reading.batch_size, 2), np.int32)}

    def _fill(self, arrays: Batch, row: int, position: int) -> None:
        for probe in range(min(len(self._source), _MAX_PROBES)):
            image = self._load(arrays, row, self.order.record_at(position + probe))
            if image is not None:
                arrays["image"][row], arrays["size"][row] = images.fit(image, self.reading.image_size)
                return
        raise UserError(f"{self._source}: {probe + 1} records one after the other are corrupt; convert the data again")


class _EvaluationBatches(_Batches):
    """Batch k of the records in order, images as an encoder gets them."""

    def __init__(self, source, reading, preprocessing):
        super().__init__(source, reading)
        self._preprocessing = preprocessing

    @property
    def _needed(self) -> int:
        return round(self.reading.image_size / self._preprocessing.crop_fraction)

    def __len__(self) -> int:
        return -(-len(self._source) // (self.reading.batch_size * self.reading.shard_count))

    def _extra_arrays(self) -> Batch:
        return {"mask": np.zeros(self.reading.batch_size, bool)}

    def _fill(self, arrays: Batch, row: int, position: int) -> None:
        if position >= len(self._source):
            return
        image = self._load(arrays, row, position)
        if image is not None:
            arrays["image"][row] = self._preprocessing.fit_to_square(image)
            arrays["mask"][row] = True


class TrainingBatches(grain.DatasetIterator):
    """Endless training batches, made and put on the mesh ahead of time.

        batches = TrainingBatches(source, order, reading, sharding)
        for step in range(start, num_steps):
            state, metrics = train_step(state, next(batches), rng)
            ...
            checkpoints.save(step, state, batches)  # or batches.get_state()

    A batch is {"image": uint8 [B H, S, S, 3], "size": int32 [B H, 2] (the height and width that are valid), other
    fields: [B H, ...]}. Its state, which orbax can checkpoint as that of a grain iterator, is that after the last batch
    that was *handed out*: it holds what the steps have seen. An exception is raised by `next` in its turn, after the
    good batches before it.

    Args:
      source: the records.
      order: which record stands where: an object with `record_at` and `fingerprint`, such as `GlobalShuffle` or
        `hierarchy.ItemOrder`. With `skip_corrupt` the next in this order takes a corrupt record's place.
      reading: how this host reads its share.
      sharding: of the batches on the mesh; None: they stay NumPy arrays of this host.

    Attributes:
      num_skipped: corrupt records that were passed over in the batches handed out.

    Raises:
      UserError: a field that the records lack. Iteration raises `CorruptRecord` for a bad record without
        `skip_corrupt`.
    """

    def __init__(self, source: RecordSource, order, reading: Reading, sharding: jax.sharding.Sharding | None = None):
        super().__init__()
        self._host: grain.DatasetIterator | None = None
        self._num_taken = self.num_skipped = 0
        self._batches, self._sharding = _OrderedBatches(source, order, reading), sharding

    def __next__(self) -> Batch:
        if self._host is None:
            self._host = _iterate(self._batches, start=self._num_taken)
            placed = _Placed(self._host, self._sharding)
            self._ahead = grain.experimental.ThreadPrefetchDatasetIterator(placed, 2)
        batch, skipped = next(self._ahead)
        self._num_taken += 1
        self.num_skipped += skipped
        return batch

    def get_state(self) -> dict[str, int]:
        """State after the last batch that was handed out, and what the order depends on."""
        return {"num_batches": self._num_taken, **self._batches.order.fingerprint()}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues with the batch that follows `state`, whatever the number of workers and hosts.

        Raises:
          UserError: the state belongs to another order (seed, number of records or global batch size differ).
        """
        for key, value in self._batches.order.fingerprint().items():
            if state[key] != value:
                raise UserError(
                    f"the saved data order has {key} {state[key]}, this run has {value}; "
                    "use the same data and config, or a new workdir"
                )
        self.close()
        self._num_taken = state["num_batches"]

    def close(self) -> None:
        """Stops threads and processes; the next batch starts them again."""
        if self._host is not None:
            self._ahead.close()
            self._host.close()
            self._host = None


class _Placed:
    """The batches of a host on the mesh, each with its number of skipped records, which stays on the host.

    Rows [B, ...] of H hosts become global arrays [B H, ...].
    """

    def __init__(self, host: grain.DatasetIterator, sharding: jax.sharding.Sharding | None):
        self._host, self._sharding = host, sharding

    def __next__(self) -> tuple[Batch, int]:
        with ctrl_c_blocked():  # worker processes start with the first batch
            batch = dict(next(self._host))
        skipped = int(batch.pop("skipped").sum())
        if self._sharding is not None:
            batch = {k: jax.make_array_from_process_local_data(self._sharding, v) for k, v in batch.items()}
        return batch, skipped

    def get_state(self) -> dict:
        """Nothing: `TrainingBatches` counts."""
        return {}
