"""Synthetic faces: the embedded data set, drawn instead of downloaded.

python -m data_prep.synthetic_faces --out=DIR [--format=tfrecord|array_record] [--size=112] [--train_identities=200]
    [--test_identities=50] [--images_per_identity=12] [--seed=0]
python -m data_prep.synthetic_faces --sheet=FILE.png [--seed=0]       # a picture of what is in it

Splits `train` and `test` have no identity in common. A record holds

| feature | type | meaning |
|---|---|---|
| image | JPEG, RGB | size x size |
| identity | int | hair, skin, proportions, beard; expression, pose, light, background, accessories vary |
| expression | 0..6 | index into `EXPRESSIONS` |
| action_units | float32 [12] | intensities 0..1 of the FACS action units in `ACTION_UNITS` |
| pose | float32 [3] | yaw (nose to the image's right), pitch (nose up), roll (clockwise) in degrees |
| landmarks | float32 [68, 2] | x, y in pixels in iBUG order; (0, 0) is the image's top left corner |
| visibility | uint8 [68] | 0 for a landmark that faces away, is hidden, covered or outside the image |
| attributes | uint8 [19] | `ATTRIBUTES`, 0 or 1 |
| regions | PNG, one channel | index into `REGIONS` of what is seen at each pixel |
"""

import argparse
import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import jax
import numpy as np
import simplejpeg
import tensorflow_datasets as tfds

from data_prep.face_renderer import rendering, scenes
from data_prep.face_renderer.appearance import REGIONS
from data_prep.face_renderer.scenes import ACTION_UNITS, EXPRESSIONS
from facejax import compilation_cache, paths, processors
from facejax.data import records
from facejax.errors import UserError, report_user_errors
from facejax.log_output import log_to_stderr
from facejax.progress import phase

SIZES = (16, 256)
ATTRIBUTES = ("glasses", "sunglasses", "hat", "occluded", "smiling", "mouth_open", "bald", "long_hair", "curly_hair",
              "dark_hair", "blond_hair", "grey_hair", "beard", "bushy_brows", "big_nose", "full_lips", "pale_skin",
              "freckles", "makeup")  # fmt: skip
_BATCH = 8  # images drawn by one call


def attributes(scene: dict) -> np.ndarray:
    """Returns `ATTRIBUTES` of a scene as uint8 [19].

    Hair is told from the person, not from what a hat leaves of it; bald is who shows it. Smiling and an open mouth
    are told from the face also where something is held in front of it (then `occluded` is 1).
    """
    units = dict(zip(ACTION_UNITS, scene["action_units"], strict=True))
    red, green, blue = scene["hair"]
    bald = scene["hair_top"] < 0
    saturation = 1 - blue / max(red, 1e-6)
    values = {
        "glasses": scene["glasses"] > 0,
        "sunglasses": scene["sunglasses"] > 0,
        "hat": scene["hat"] > 0,
        "occluded": max(scene["mask"], scene["hand"], scene["card"]) > 0,
        "smiling": units[12] >= 0.3,
        "mouth_open": units[25] >= 0.25,
        "bald": bald and not scene["hat"],
        "long_hair": scene["long_volume"] > 0,
        "curly_hair": not bald and scene["hair_curl"] > 0.25,
        "dark_hair": not bald and green < 0.06,
        "blond_hair": not bald and green > 0.2 and saturation > 0.4,
        "grey_hair": not bald and green > 0.2 and saturation < 0.2,
        "beard": scene["beard_length"] > 0,
        "bushy_brows": scene["brow_thickness"] > 0.52,
        "big_nose": scene["nose_size"] * scene["nose_width"] > 1.1,
        "full_lips": scene["upper_lip"] + scene["lower_lip"] > 1.65,
        "pale_skin": scene["skin"][1] > 0.45,
        "freckles": scene["freckles"] > 0,
        "makeup": scene["makeup"] > 0,
    }
    return np.array([values[name] for name in ATTRIBUTES], np.uint8)


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


def draw(faces: list[dict], size: int) -> dict[str, np.ndarray]:
    """Draws scenes (from `scenes.scene`): what `rendering.render` returns, as NumPy arrays, for any number of them.

    The work is done by the CPU, whatever else there is: the same scenes give the same pixels on every kind of machine.
    """
    renderer = _renderer(size)
    parts = []
    for start in range(0, len(faces), _BATCH):
        batch = faces[start : start + _BATCH]
        drawn = renderer(scenes.stack(batch + batch[-1:] * (_BATCH - len(batch))))
        parts.append({name: np.asarray(value)[: len(batch)] for name, value in drawn.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@functools.cache
def _renderer(size: int):
    """The renderer compiled for one size, once for all threads."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return rendering.render.lower(scenes.stack([scenes.scene(0, 0, 0)] * _BATCH), size).compile()


class _Split:
    """The records of some identities, drawn and encoded by threads a little ahead of who reads them."""

    def __init__(self, identities: range, images_per_identity: int, size: int, seed: int):
        self.plan = [(person, image) for person in identities for image in range(images_per_identity)]
        self.size, self.seed = size, seed
        self.expressions = np.zeros(len(EXPRESSIONS), int)

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[dict]:
        batches = [self.plan[start : start + _BATCH] for start in range(0, len(self.plan), _BATCH)]
        threads = processors.count()
        with ThreadPoolExecutor(threads) as pool:
            pending = []
            for batch in batches:
                pending.append(pool.submit(self._examples, batch))
                if len(pending) > 2 * threads:
                    yield from self._count(pending.pop(0).result())
            for future in pending:
                yield from self._count(future.result())

    def _examples(self, batch: list[tuple[int, int]]) -> list[dict]:
        faces = [scenes.scene(self.seed, person, image) for person, image in batch]
        drawn = draw(faces, self.size)
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


def split_identities(train_identities: int, test_identities: int) -> dict[str, range]:
    """The people of each split."""
    return {
        "train": range(train_identities),
        "test": range(train_identities, train_identities + test_identities),
    }


def generate(
    out: str | os.PathLike,
    *,
    size: int = 112,
    train_identities: int = 200,
    test_identities: int = 50,
    images_per_identity: int = 12,
    seed: int = 0,
    file_format: records.FileFormat = "tfrecord",
) -> dict[str, records.SplitSummary]:
    """Draws the data set and writes it to the folder `out`, which must not exist.

    The same arguments give the same bytes. Prints a summary: records of each split and expression.

    Args:
      out: folder, a local path or a URL.
      size: pixels across, 16 to 256.
      train_identities: people in the split `train`.
      test_identities: other people, in the split `test`.
      images_per_identity: images of each of them.
      seed: of everything that is drawn by chance.
      file_format: "tfrecord" or "array_record".

    Returns:
      A `records.SplitSummary` for each split.

    Raises:
      UserError: a number out of range, or `out` exists.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(
            f"--size={size}: faces are drawn {SIZES[0]} to {SIZES[1]} pixels across; choose a size in between"
        )
    counts = dict(
        train_identities=train_identities, test_identities=test_identities, images_per_identity=images_per_identity
    )
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"--{name}={value}: must be at least 1")
    if seed < 0:
        raise UserError(f"--seed={seed}: must not be negative")
    out = paths.resolve(out, "--out")
    records.check_free(out, "--out")
    people = split_identities(train_identities, test_identities)
    splits = {name: _Split(identities, images_per_identity, size, seed) for name, identities in people.items()}
    with phase(f"Compiling the renderer for {size} x {size} pixels"):
        _renderer(size)
    summaries = records.write(
        out,
        name="synthetic_faces",
        features=features(size),
        splits=splits,
        file_format=file_format,
        description=(
            f"Rendered faces, {images_per_identity} images of each identity, seed {seed}. "
            f"Action units: {', '.join(f'AU{number} {what}' for number, what in ACTION_UNITS.items())}. "
            f"Attributes: {', '.join(ATTRIBUTES)}. Regions: {', '.join(REGIONS)}. "
            "Pose: yaw, pitch, roll in degrees. Landmarks: iBUG 68, x and y in pixels from the top left corner."
        ),
        license="Apache-2.0",
    )
    for name, split in splits.items():
        classes = ", ".join(f"{label} {n}" for label, n in zip(EXPRESSIONS, split.expressions, strict=True))
        print(f"{name}: {summaries[name].num_records} records, {len(people[name])} identities; {classes}")
    return summaries


def main(argv: list[str] | None = None) -> None:
    """Entry point; exit status 2 for an error of the user's."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic_faces", description="Draws the embedded data set."
    )
    parser.add_argument("--out", help="folder for the records, local or a URL; must not exist")
    parser.add_argument("--format", choices=("tfrecord", "array_record"), default="tfrecord")
    parser.add_argument("--size", type=int, default=112, help=f"pixels across, {SIZES[0]} to {SIZES[1]}")
    parser.add_argument("--train_identities", type=int, default=200)
    parser.add_argument("--test_identities", type=int, default=50)
    parser.add_argument("--images_per_identity", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", help="instead of records, a picture (PNG or JPEG) of what is in them")
    args = parser.parse_args(argv)
    with report_user_errors("synthetic_faces"):
        if args.sheet:
            from data_prep.face_renderer import sheet

            sheet.write(args.sheet, seed=args.seed)
        elif args.out:
            generate(
                args.out,
                size=args.size,
                train_identities=args.train_identities,
                test_identities=args.test_identities,
                images_per_identity=args.images_per_identity,
                seed=args.seed,
                file_format=args.format,
            )
        else:
            raise UserError("--out is missing: python -m data_prep.synthetic_faces --out=DIR")


if __name__ == "__main__":
    log_to_stderr()
    compilation_cache.enable()
    main()
