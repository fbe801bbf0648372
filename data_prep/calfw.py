"""CALFW: 6 000 pairs of the same person far apart in age, and of different people.

python -m data_prep.calfw --source=DIR --out=DIR [--images=aligned|original]

--source holds `pairs_CALFW.txt`, and `aligned images` (112 x 112) or the original `images` with their five points in
`CA_landmarks`, for --align. One split, `test`; how pairs are stored stands in `data_prep.formats.image_pairs`.
"""

import argparse
from pathlib import Path

from data_prep import conversion, sources
from data_prep.formats import image_pairs

_FOLDERS = {"aligned": ("aligned images",), "original": ("images", "images&landmarks/images")}
_POINTS = ("CA_landmarks", "images&landmarks/CA_landmarks", "images&landmarks/landmarks", "landmarks", "images")


def read(source: Path, args: argparse.Namespace):
    """The images of the pairs, in ten folds."""
    pairs = image_pairs.read_two_line_pairs(sources.find(source, "pairs_CALFW.txt"))
    folder = sources.find_folder(source, *_FOLDERS[args.images])
    items = image_pairs.of_files(source, pairs, folder, points_folders=_POINTS, needs_points=args.align)
    return image_pairs.FEATURES, {"test": items}


DATASET = conversion.Dataset(
    name="calfw",
    read=read,
    layout="pairs_CALFW.txt and the folder 'aligned images' or images",
    description="Images 2i and 2i + 1 are a pair; `same` is 1 if they are one person.",
    homepage="http://whdeng.cn/CALFW/",
    license="non-commercial research",
    citation="Zheng et al., Cross-Age LFW, arXiv 1708.08197, 2017",
    add_arguments=lambda parser: parser.add_argument("--images", choices=tuple(_FOLDERS), default="aligned"),
    has_points=True,
)

if __name__ == "__main__":
    conversion.main(DATASET)
