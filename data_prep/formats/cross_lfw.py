"""CALFW and CPLFW, which have the same layout: a list with two lines per pair, images, five points."""

import argparse
import functools
from pathlib import Path

from data_prep import conversion, sources
from data_prep.formats import image_pairs

_FOLDERS = {"aligned": ("aligned images",), "original": ("images", "images&landmarks/images")}


def dataset(letters: str, *, homepage: str, citation: str) -> conversion.Dataset:
    """The data set called `letters` ("ca", "cp") and LFW, whose files have these letters in their names."""
    pair_list = f"pairs_{letters.upper()}LFW.txt"
    return conversion.Dataset(
        name=f"{letters}lfw",
        read=functools.partial(_read, pair_list, f"{letters.upper()}_landmarks"),
        layout=f"{pair_list} and the folder 'aligned images' or images",
        description="Images 2i and 2i + 1 are a pair; `same` is 1 if they show one person.",
        homepage=homepage,
        license="non-commercial research",
        citation=citation,
        add_arguments=lambda parser: parser.add_argument("--images", choices=tuple(_FOLDERS), default="aligned"),
        has_points=True,
    )


def _read(pair_list: str, own_points: str, source: Path, args: argparse.Namespace):
    """The images of the pairs, in ten folds."""
    pairs = image_pairs.read_two_line_pairs(sources.find(source, pair_list))
    folder = sources.find_folder(source, *_FOLDERS[args.images])
    points = (own_points, f"images&landmarks/{own_points}", "images&landmarks/landmarks", "landmarks", "images")
    items = image_pairs.of_files(source, pairs, folder, points_folders=points, needs_points=args.align)
    return image_pairs.FEATURES, {"test": items}
