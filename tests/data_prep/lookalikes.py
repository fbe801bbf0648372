"""What the tests of converters share: small pictures, and running a converter over a folder."""

import cv2
import numpy as np
import simplejpeg

from data_prep import conversion
from facejax.data import records


def pixels(seed, height=20, width=16):
    """A smooth picture, uint8 [H, W, 3], another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def jpeg(seed, height=20, width=16):
    return simplejpeg.encode_jpeg(pixels(seed, height, width), quality=90, colorspace="RGB")


def png(image):
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image)[1].tobytes()


def put(folder, name, content):
    """Writes a file, and the folders on the way."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return content


def arguments(dataset, source, out, *options):
    return conversion.parser(dataset).parse_args([f"--source={source}", f"--out={out}", "--workers=0", *options])


def convert(dataset, source, out, *options):
    """The summary of a conversion, and the records of every split."""
    summary = conversion.convert(dataset, arguments(dataset, source, out, *options))
    return summary, {split: list(read(out, split)) for split in summary["splits"]}


def read(out, split="train"):
    source = records.open_split(out, split)
    return (source[i] for i in range(len(source)))


def files(folder):
    """Names and bytes of all files of a folder, but for the index that a reader keeps."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
