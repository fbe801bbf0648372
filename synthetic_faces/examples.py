"""The examples of a data set of synthetic faces: pictures and labels in the form of records."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import simplejpeg
import tensorflow_datasets as tfds

from synthetic_faces import scenes
from synthetic_faces.drawing import BATCH, draw
from synthetic_faces.labels import ATTRIBUTES, attributes
from synthetic_faces.scenes import ACTION_UNITS, EXPRESSIONS


def features(size: int) -> dict:
    """Returns the TFDS features of a record whose image is `size` pixels across."""
    return {
        "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
        "identity": tfds.features.Scalar(np.int64),
        "expression": tfds.features.ClassLabel(names=EXPRESSIONS),
        "action_units": tfds.features.Tensor(shape=(len(ACTION_UNITS),), dtype=np.float32),
        "pose": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
        "visibility": tfds.features.Tensor(shape=(68,), dtype=np.uint8),
        "attributes": tfds.features.Tensor(shape=(len(ATTRIBUTES),), dtype=np.uint8),
        "regions": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
    }


def split_identities(train_identities: int, test_identities: int) -> dict[str, range]:
    """The people of each split."""
    return {
        "train": range(train_identities),
        "test": range(train_identities, train_identities + test_identities),
    }


class Examples:
    """Examples of some identities, drawn and encoded by threads ahead of the reader.

    Args:
      identities: the people.
      images_per_identity: images of each person.
      size: side of a picture, pixels.
      seed: of everything random.
      threads: number of threads that draw.

    Attributes:
      expressions: number of examples read so far with each expression, [7].
    """

    def __init__(self, identities: range, images_per_identity: int, *, size: int, seed: int, threads: int):
        self._plan = [(person, image) for person in identities for image in range(images_per_identity)]
        self._size, self._seed, self._threads = size, seed, threads
        self.expressions = np.zeros(len(EXPRESSIONS), int)

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[dict]:
        batches = [self._plan[start : start + BATCH] for start in range(0, len(self._plan), BATCH)]
        with ThreadPoolExecutor(self._threads) as pool:
            pending = []
            for batch in batches:
                pending.append(pool.submit(self._examples, batch))
                if len(pending) > 2 * self._threads:
                    yield from self._count(pending.pop(0).result())
            for future in pending:
                yield from self._count(future.result())

    def _examples(self, batch: list[tuple[int, int]]) -> list[dict]:
        faces = [scenes.scene(self._seed, person, image) for person, image in batch]
        drawn = draw(faces, self._size)
        return [
            {
                "image": simplejpeg.encode_jpeg(
                    drawn["image"][i], quality=95, colorspace="RGB", colorsubsampling="444"
                ),
                "identity": face["identity"],
                "expression": face["expression"],
                "action_units": face["action_units"],
                "pose": face["pose"].astype(np.float32),
                "landmarks": drawn["landmarks"][i],
                "visibility": drawn["visibility"][i],
                "attributes": attributes(face),
                "regions": cv2.imencode(".png", drawn["regions"][i])[1].tobytes(),
            }
            for i, face in enumerate(faces)
        ]

    def _count(self, examples: list[dict]) -> list[dict]:
        np.add.at(self.expressions, [example["expression"] for example in examples], 1)
        return examples
