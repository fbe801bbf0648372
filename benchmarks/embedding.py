"""Embedding a folder of photos against one photo at a time: images a second, and the ratio.

    python -m benchmarks.embedding [--images=1000] [--backbone=resnet18 --width=16 --size=48]

The folder has photos from 60 to 640 px in four formats; three files of it are broken. The default network is that of
FRA's demo, with random weights, as speed does not depend on them. One at a time is `encoder.embed([path])`, compiled
before and for a part of the photos only, and as a plain loop would have it: Pillow, then the network not compiled.
"""

import argparse
import pathlib
import tempfile
import time

import cv2
import jax
import numpy as np
from etils import epath
from PIL import Image

from facejax import photo_folder
from facejax.embed import image_names
from facejax.encoder import Encoder
from facejax.face_cutter import FaceCutter
from facejax.preprocessing import Preprocessing

FORMATS = ("jpg", "jpg", "jpg", "png", "webp", "bmp")  # as often as they are named
ALONE, LOOP = 200, 10  # images that are embedded one at a time


def write_photos(folder: pathlib.Path, count: int) -> None:
    """Smooth pictures of mixed sizes, and three files that are none."""
    rng = np.random.default_rng(0)
    for index in range(count):
        height, width = rng.integers(60, 641, 2)
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        picture = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index:04}.{FORMATS[index % len(FORMATS)]}"), picture)
    for index in range(0, count, count // 3 + 1):
        path = next(folder.glob(f"{index:04}.*"))
        path.write_bytes(path.read_bytes()[:100])


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=48)
    args = parser.parse_args()
    encoder = Encoder.random("resnet", {"backbone": args.backbone, "width": args.width}, Preprocessing(args.size))
    with tempfile.TemporaryDirectory() as name:
        folder = epath.Path(name)
        write_photos(pathlib.Path(name), args.images)
        names = image_names(folder)
        photos = photo_folder.PhotoFolder(folder, FaceCutter(encoder), kind="pooled")
        photos.embed(names[:64])  # compiles
        began = time.perf_counter()
        found, skipped = photos.embed(names)
        folder_rate = len(names) / (time.perf_counter() - began)
        print(f"{jax.devices()[0].device_kind}: {args.backbone}, width {args.width}, {args.size} px")
        print(f"skipped: {', '.join(skipped)}")

        sound = [folder / path for path in found.paths]
        encoder.embed(sound[:1])
        alone_rate = rate(sound[:ALONE], lambda path: encoder.embed([path]))

        def plainly(path):
            image = np.asarray(Image.open(path).convert("RGB").resize((args.size, args.size)))
            return np.asarray(encoder.apply(encoder.variables, image[None])["pooled"])

        plainly(sound[0])
        loop_rate = rate(sound[:LOOP], plainly)
    print(f"{'the folder':<34}{folder_rate:>8.1f} images/s")
    print(f"{'one at a time, embed([path])':<34}{alone_rate:>8.1f} images/s, ratio {folder_rate / alone_rate:.1f}")
    print(f"{'one at a time, not compiled':<34}{loop_rate:>8.1f} images/s, ratio {folder_rate / loop_rate:.1f}")


def rate(sources, function) -> float:
    """Calls a second, on one source after the other."""
    began = time.perf_counter()
    for source in sources:
        function(source)
    return len(sources) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
