"""From records to batches on the mesh: a global shuffle for each epoch, decoding in threads or processes, prefetching.

    source = records.open_split(folder, "train")
    loader = training_loader(source, batch_size=64, image_size=256, seed=0)
    for batch in DevicePrefetch(loader, NamedSharding(mesh, PartitionSpec("data"))): ...

Order: position p of the endless sequence of records is place p % n of epoch p // n, each epoch in a permutation of its
own, a function of (seed, epoch) alone. Step t takes positions t B H to (t + 1) B H (H hosts, B records each), host h
the h-th block of B. So the global batches do not depend on the number of hosts, worker processes or threads.
"""

import contextlib
import functools
import logging
import queue
import sys
import threading
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

Batch = dict[str, Any]

_MAX_PROBES = 10_000  # records tried in the place of a corrupt one


def training_loader(
    source: RecordSource,
    *,
    batch_size: int,
    image_size: int,
    seed: int,
    num_workers: int = 0,
    skip_corrupt: bool = False,
    fields: Sequence[str] = ("image",),
    shard_index: int = 0,
    shard_count: int = 1,
    order=None,
) -> "TrainingLoader":
    """Endless training batches of this host's share of the records.

    Args:
      source: the records.
      batch_size: records in a batch of this host.
      image_size: S, the side of the square that an image is fitted into.
      seed: of the shuffle.
      num_workers: worker processes; 0: threads of this process, which is enough where decoding is the only work.
      skip_corrupt: replace a record that cannot be read or decoded by the next in the shuffled order, with a logged
        warning that names file and record, and count it.
      fields: features of a batch; "image" is decoded and fitted, the others are stacked.
      shard_index: this host, of `shard_count` (`jax.process_index()`, `jax.process_count()`).
      shard_count: hosts.
      order: which record stands where, in place of the global shuffle: an object with `record_at` and `fingerprint`,
        such as `hierarchy.ItemOrder`.

    Returns:
      An iterator over {"image": uint8 [B, S, S, 3], "size": int32 [B, 2] (the height and width that are valid),
      "skipped": int32 [B] (corrupt records that were passed over), other fields: [B, ...]}, with `get_state` and
      `set_state`, which orbax can checkpoint as a grain iterator.

    Raises:
      UserError: a field that the records lack, or fewer records than one batch of all hosts takes. Iteration raises
        `CorruptRecord` for a bad record without `skip_corrupt`.
    """
    if order is None:
        order = GlobalShuffle(source, batch_size * shard_count, seed)
    batches = _TrainingBatches(
        source, fields, batch_size, image_size, skip_corrupt, shard_index, shard_count, num_workers, order=order
    )
    return TrainingLoader(batches, num_workers)


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
    source: RecordSource,
    *,
    batch_size: int,
    image_size: int,
    fields: Sequence[str] = ("image",),
    skip_corrupt: bool = False,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Iterator[Batch]:
    """All records once, in order; every host yields the same number of batches.

    Args:
      source: the records.
      batch_size: records in a batch of this host.
      image_size: S; images are squashed to S x S.
      fields: as for `training_loader`.
      skip_corrupt: leave a corrupt record out (its mask is false, its values zero) with a logged warning.
      shard_index: this host, of `shard_count`.
      shard_count: hosts; global batch k is records k B H to (k + 1) B H.

    Yields:
      {"image": uint8 [B, S, S, 3], "mask": bool [B], "skipped": int32 [B], other fields: [B, ...]}; the last batch is
      padded with zeros to the full size, `mask` is false there.

    Raises:
      UserError: a field that the records lack.
      CorruptRecord: a bad record, without `skip_corrupt`.
    """
    batches = _EvaluationBatches(source, fields, batch_size, image_size, skip_corrupt, shard_index, shard_count, 0)
    return _iterate(batches, num_workers=0)


def batch_shapes(
    source: RecordSource, batch_size: int, image_size: int, fields: Sequence[str] = ("image",)
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every array in a global batch on the mesh; arguments and errors as for `training_loader`."""
    shapes = {"image": ((image_size, image_size, 3), np.dtype(np.uint8)), "size": ((2,), np.dtype(np.int32))}
    shapes |= {field: _shape_and_dtype(source, field) for field in fields if field != "image"}
    return {name: ((batch_size, *shape), dtype) for name, (shape, dtype) in shapes.items()}


def _iterate(batches: "_Batches", num_workers: int, start: int = 0) -> grain.DatasetIterator:
    """Batches from `start` on, made ahead of time by a thread or by processes.

    The unit that grain hands to threads and processes is a whole batch, so what is in it does not depend on their
    number; within a batch the records are decoded by a thread pool.
    """
    dataset = grain.MapDataset.source(batches).slice(slice(start, None))
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    if num_workers:
        if not flags.FLAGS.is_parsed():  # grain reads its flags when it starts a process, also where absl did not parse
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2))
    return iter(dataset)


class _Batches:
    """Random access to batches: grain's source, picklable for its worker processes."""

    def __init__(self, source, fields, batch_size, image_size, skip_corrupt, shard_index, shard_count, num_workers):
        if "image" not in source.features or not isinstance(source.features["image"], tfds.features.Image):
            raise UserError(f"{source} has no images in a field 'image'; it has {', '.join(sorted(source.features))}")
        self._source = source
        self._fields = {field: _shape_and_dtype(source, field) for field in fields if field != "image"}
        self._batch_size = batch_size
        self._image_size = image_size
        self._skip_corrupt = skip_corrupt
        self._shard_index = shard_index
        self._shard_count = shard_count
        self._num_threads = max(1, processors.count() // max(1, num_workers))

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        cv2.setNumThreads(0)  # one thread for each image is enough
        return ThreadPoolExecutor(self._num_threads, "decode")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_pool"}

    def __getitem__(self, batch: int) -> Batch:
        rows = self._batch_size
        arrays = {"image": np.zeros((rows, self._image_size, self._image_size, 3), np.uint8)}
        arrays |= {field: np.zeros((rows, *shape), dtype) for field, (shape, dtype) in self._fields.items()}
        arrays |= {"skipped": np.zeros(rows, np.int32), **self._extra_arrays()}
        start = (batch * self._shard_count + self._shard_index) * rows
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
            # where a JPEG is at least twice as large as needed, its decoder may shrink it to no less than that
            record, image = records.read_with_image(self._source, i, at_least=2 * self._image_size)
        except CorruptRecord as error:
            if not self._skip_corrupt:
                raise
            logging.warning("skipped %s", error)
            arrays["skipped"][row] += 1
            return None
        for field in self._fields:
            arrays[field][row] = record[field]
        return image


def _shape_and_dtype(source: RecordSource, field: str) -> tuple[tuple[int, ...], np.dtype]:
    if field not in source.features:
        raise UserError(f"{source} has no field '{field}'; it has {', '.join(sorted(source.features))}")
    info = source.features[field].get_tensor_info()
    if isinstance(info, dict) or None in info.shape or info.np_dtype == np.object_:
        raise UserError(f"{source}: field '{field}' is no array of fixed shape and cannot be batched")
    return info.shape, info.np_dtype


class _TrainingBatches(_Batches):
    """Batch t of the endless shuffled order, images fitted."""

    def __init__(self, source, fields, *args, order):
        super().__init__(source, fields, *args)
        self.order = order

    def __len__(self) -> int:
        return sys.maxsize // (self._batch_size * self._shard_count)

    def _extra_arrays(self) -> Batch:
        return {"size": np.zeros((self._batch_size, 2), np.int32)}

    def _fill(self, arrays: Batch, row: int, position: int) -> None:
        for probe in range(min(len(self._source), _MAX_PROBES)):
            image = self._load(arrays, row, self.order.record_at(position + probe))
            if image is not None:
                arrays["image"][row], arrays["size"][row] = images.fit(image, self._image_size)
                return
        raise UserError(f"{self._source}: {probe + 1} records one after the other are corrupt; convert the data again")


class _EvaluationBatches(_Batches):
    """Batch k of the records in order, images squashed."""

    def __len__(self) -> int:
        return -(-len(self._source) // (self._batch_size * self._shard_count))

    def _extra_arrays(self) -> Batch:
        return {"mask": np.zeros(self._batch_size, bool)}

    def _fill(self, arrays: Batch, row: int, position: int) -> None:
        if position >= len(self._source):
            return
        image = self._load(arrays, row, position)
        if image is not None:
            arrays["image"][row] = images.squash(image, self._image_size)
            arrays["mask"][row] = True


class TrainingLoader(grain.DatasetIterator):
    """What `training_loader` returns. Its state is the number of batches taken, and what the order depends on."""

    def __init__(self, batches: _TrainingBatches, num_workers: int):
        super().__init__()
        self._batches = batches
        self._num_workers = num_workers
        self._num_taken = 0
        self._iterator: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        if self._iterator is None:
            self._iterator = _iterate(self._batches, self._num_workers, start=self._num_taken)
        batch = next(self._iterator)
        if self._num_workers:  # out of the shared memory, which must not be in use when the process ends
            batch = {key: np.array(value) for key, value in batch.items()}
        self._num_taken += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """State after the last batch that was taken."""
        return {"num_batches": self._num_taken, **self._batches.order.fingerprint()}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on with the batch that follows `state`, whatever the number of workers and hosts.

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
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


# --- To the device ---


def to_device(batch: Mapping[str, np.ndarray], sharding: jax.sharding.Sharding) -> Batch:
    """This host's rows of a batch into global arrays: [B, ...] on H hosts becomes [B H, ...], placed by `sharding`."""
    return {key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()}


class DevicePrefetch(grain.DatasetIterator):
    """Batches of a loader as global arrays on the mesh, `ahead` of them put there by a thread in advance.

    `get_state()` is the loader's state after the last batch that was *handed out*, not after the last that was
    prefetched, so a checkpoint taken after a step holds what that step has seen:

        batches = DevicePrefetch(training_loader(...), sharding)
        for step in range(start, num_steps):
            state, metrics = train_step(state, next(batches), rng)
            ...
            checkpoints.save(step, state, batches)  # or batches.get_state()

    An exception of the loader is raised by `next` in its turn, after the good batches before it. The loader's `skipped`
    stays on the host: `num_skipped` counts them.
    """

    def __init__(self, loader: TrainingLoader, sharding: jax.sharding.Sharding, ahead: int = 2):
        super().__init__()
        self._loader = loader
        self._sharding = sharding
        self._ahead = ahead
        self._state = loader.get_state()
        self._thread: threading.Thread | None = None
        self.num_skipped = 0

    def __next__(self) -> Batch:
        if self._thread is None:
            self._queue: queue.Queue = queue.Queue(self._ahead)
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._produce, name="device-prefetch", daemon=True)
            self._thread.start()
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._thread.join()
            self._thread = None
            raise item
        batch, self._state, skipped = item
        self.num_skipped += skipped
        return batch

    def _produce(self) -> None:
        try:
            with ctrl_c_blocked():  # the loader starts its worker processes in this thread
                while not self._stop.is_set():
                    batch = next(self._loader)
                    skipped = int(batch.pop("skipped").sum())
                    self._put((to_device(batch, self._sharding), self._loader.get_state(), skipped))
        except BaseException as error:  # raised again by __next__
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                return self._queue.put(item, timeout=0.1)

    def get_state(self) -> dict[str, int]:
        """The loader's state after the last batch that was handed out."""
        return self._state

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on with the batch that follows `state`; see `TrainingLoader.set_state`."""
        self.close()
        self._loader.set_state(state)
        self._state = self._loader.get_state()

    def close(self) -> None:
        """Stops the thread and the loader's own threads and processes."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
        self._loader.close()
