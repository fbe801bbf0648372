"""Synthetic faces: the embedded data set, rendered instead of downloaded.

python -m data_prep.synthetic_faces --out=DIR [--format=tfrecord|array_record] [--size=112] [--train_identities=200]
    [--test_identities=50] [--images_per_identity=12] [--seed=0]
python -m data_prep.synthetic_faces --sheet=FILE.png [--seed=0]       # a picture of its contents

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
| regions | PNG, one channel | index into `REGIONS` for each pixel |
"""

import argparse
import io

import numpy as np
from PIL import Image

from facejax import compilation_cache, paths
from facejax.data import embedded
from facejax.errors import UserError, report_user_errors
from facejax.files import write_atomically
from facejax.log_output import log_to_stderr
from synthetic_faces import SIZES
from synthetic_faces.sheet import sheet


def write_sheet(path: str, *, seed: int = 0) -> None:
    """Draws a picture of the contents of the data set and writes it to `path` (PNG or JPEG).

    Raises:
      UserError: `path` has another ending, or its folder does not exist.
    """
    path = paths.resolve(path, "--sheet")
    in_a_folder = paths.is_url(path) or path.parent.is_dir()
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg") or not in_a_folder:
        raise UserError(f"--sheet={path}: must be a .png or .jpg file in a folder that exists")
    picture = sheet(seed)
    if path.suffix.lower() == ".png":  # 64 steps per channel: two thirds of the bytes, no visible difference
        picture = Image.fromarray(np.asarray(picture) // 4 * 4 + 2)
    encoded = io.BytesIO()
    picture.save(encoded, Image.registered_extensions()[path.suffix.lower()], optimize=True)
    write_atomically(path, encoded.getvalue())


def main(argv: list[str] | None = None) -> None:
    """Entry point; exit status 2 for a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic_faces", description="Renders the embedded data set."
    )
    parser.add_argument("--out", help="folder for the records, local or a URL; must not exist")
    parser.add_argument("--format", choices=("tfrecord", "array_record"), default="tfrecord")
    parser.add_argument("--size", type=int, default=112, help=f"side of a face in pixels, {SIZES[0]} to {SIZES[1]}")
    parser.add_argument("--train_identities", type=int, default=200)
    parser.add_argument("--test_identities", type=int, default=50)
    parser.add_argument("--images_per_identity", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", help="instead of records, a picture (PNG or JPEG) of their contents")
    args = parser.parse_args(argv)
    with report_user_errors("synthetic_faces"):
        if args.sheet:
            write_sheet(args.sheet, seed=args.seed)
        elif args.out:
            embedded.generate(
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
