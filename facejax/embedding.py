"""Features of any number of images: read and fitted in threads, batched, padded, and split over all devices."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import tqdm
from etils import epath

from facejax import processors
from facejax.data import images
from facejax.errors import UserError

if TYPE_CHECKING:
    from facejax.encoder import Encoder

BATCH = 64  # maximum number of images per device and batch
RUNNING = 2  # batches on the device before their features are fetched
Source = np.ndarray | str | os.PathLike
Unreadable = Callable[[int, str], None]


class Part(NamedTuple):
    """Features of some faces.

    Attributes:
      positions: int [n], of the images that contain the faces, ascending over all parts.
      features: kind -> float32 [n, D].
    """

    positions: np.ndarray
    features: Mapping[str, np.ndarray]


def decode(path: epath.PathLike, at_least: int = 0) -> np.ndarray:
    """The image in a file, uint8 [H, W, 3]; `at_least` as for `facejax.data.images.decode`.

    Raises:
      ValueError: it cannot be read, or is not an image.
    """
    try:
        return images.decode(epath.Path(path).read_bytes(), at_least=at_least)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def parts(
    encoder: "Encoder",
    sources: Sequence[Source],
    *,
    faces: Callable[[Source], Sequence[np.ndarray]] | None = None,
    flip: bool = False,
    unreadable: Unreadable | None = None,
) -> Iterator[Part]:
    """Features of images in their order.

    Args:
      encoder: embeds the images.
      sources: paths, or arrays uint8 [H, W, 3], which may differ in size.
      faces: returns the squares uint8 [S, S, 3] of a source to embed, called in threads; None: the whole image, fitted
        by `encoder.preprocessing`. Raises ValueError for an unreadable source.
      flip: add the features of the mirror image.
      unreadable: called with the position of an unreadable source, and the reason.

    Raises:
      UserError: an image cannot be read, and `unreadable` is None.
    """
    runner = _Runner(encoder, _batch_size(len(sources)), flip)
    read, unreadable = faces or encoder.fit, unreadable or stop_at_unreadable(sources)
    running: collections.deque = collections.deque()
    for positions, batch in batches(sources, read, unreadable, runner.batch_size):
        running.append((positions, runner(batch)))
        if len(running) > RUNNING:
            yield _fetch(*running.popleft())
    while running:
        yield _fetch(*running.popleft())


def batches(
    sources: Sequence, read: Callable[[Any], Sequence[np.ndarray]], unreadable: Unreadable, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What is read of sources, in their order, read ahead by threads: (positions [n], arrays [n, ...]), n up to `size`.

    Args:
      sources: whatever `read` takes.
      read: the arrays of a source, of one shape; raises ValueError for an unreadable one.
      unreadable: called with the position of an unreadable source, and the reason.
      size: of a batch.
    """
    with tqdm.tqdm(total=len(sources), desc="features", unit=" images", delay=3) as progress:
        for positions, batch in _batched(read_ahead(sources, read, unreadable), size):
            yield positions, batch
            progress.update(positions[-1] + 1 - progress.n)
        progress.update(len(sources) - progress.n)


def stop_at_unreadable(sources: Sequence[Source]) -> Unreadable:
    """Raises a UserError that names the source."""

    def stop(position: int, reason: str) -> None:
        source = sources[position]
        name = f"image {position}" if isinstance(source, np.ndarray) else os.fspath(source)
        raise UserError(f"{name}: {reason}")

    return stop


def _batch_size(count: int) -> int:
    """Images in a batch, over all devices: a power of two on each, so few shapes are compiled."""
    devices = jax.local_device_count()
    on_each = -(-max(1, count) // devices)
    return devices * min(BATCH, 1 << (on_each - 1).bit_length())


class _Runner:
    """Runs full batches on all devices of this process, without waiting for them."""

    def __init__(self, encoder: "Encoder", batch_size: int, flip: bool):
        mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), ("data",))
        self.batch_size, self._flip = batch_size, flip
        self._split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        self._whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._encode, self._variables = encoder.compiled("encode"), encoder.placed(self._whole)

    def __call__(self, batch: np.ndarray) -> list[dict[str, jax.Array]]:
        """Features of `batch_size` rows from uint8 [n, S, S, 3], n up to `batch_size`; with `flip` also mirrored."""
        padded = np.concatenate([batch, np.zeros((self.batch_size - len(batch), *batch.shape[1:]), np.uint8)])
        views = [padded, padded[:, :, ::-1]] if self._flip else [padded]
        return [self._encode(self._variables, jax.device_put(view, self._split)) for view in views]


def _fetch(positions: np.ndarray, views: list[dict[str, jax.Array]]) -> Part:
    features = {kind: sum(np.asarray(view[kind]) for view in views)[: len(positions)] for kind in views[0]}
    return Part(positions, features)


def read_ahead(sources, read, unreadable) -> Iterator[tuple[int, np.ndarray]]:
    """(position of the source, array), in order; arguments as for `batches`."""
    threads = processors.count()
    with ThreadPoolExecutor(threads, "images") as pool:
        ahead: collections.deque = collections.deque()
        try:
            for position in range(len(sources) + 1):
                if position < len(sources):
                    ahead.append(pool.submit(read, sources[position]))
                while ahead and (len(ahead) > 8 * threads or position == len(sources)):
                    at = position - len(ahead) + (position < len(sources))
                    try:
                        found = ahead.popleft().result()
                    except ValueError as error:
                        unreadable(at, str(error))
                    else:
                        yield from ((at, array) for array in found)
        finally:
            for waiting in ahead:
                waiting.cancel()


def _batched(arrays: Iterable[tuple[int, Any]], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    collected: list = []
    for array in arrays:
        collected.append(array)
        if len(collected) == size:
            yield _stacked(collected)
            collected = []
    if collected:
        yield _stacked(collected)


def _stacked(collected):
    positions, batch = zip(*collected, strict=True)
    return np.array(positions), np.stack(batch)
