"""LFW: 6 000 pairs of faces in ten folds, same person or not (View 2, or another list).

python -m data_prep.lfw --source=DIR --out=DIR [--pairs=pairs.txt]

--source holds `lfw` (or `lfw-deepfunneled`, `lfw_funneled`, `lfw-funneled`) with `NAME/NAME_0001.jpg`, ..., and
`pairs.txt`. One split, `test`; `data_prep.formats.image_pairs` describes how pairs are stored.
"""

import argparse
from pathlib import Path

from data_prep import conversion, sources
from data_prep.formats import image_pairs


def read(source: Path, args: argparse.Namespace):
    """The images of the pairs, in the order of the list."""
    pairs = image_pairs.read_lfw_pairs(sources.find(source, args.pairs))
    folder = sources.find_folder(source, "lfw", "lfw-deepfunneled", "lfw_funneled", "lfw-funneled")
    return image_pairs.FEATURES, {"test": image_pairs.of_files(source, pairs, folder)}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", default="pairs.txt", help="or pairsDevTrain.txt, pairsDevTest.txt: View 1")


DATASET = conversion.Dataset(
    name="lfw",
    read=read,
    layout="the folder lfw and pairs.txt",
    description="Images 2i and 2i + 1 are a pair; `same` is 1 if they show one person.",
    homepage="http://vis-www.cs.umass.edu/lfw/",
    license="research",
    citation="Huang et al., Labeled Faces in the Wild, University of Massachusetts 07-49, 2007",
    add_arguments=_add_arguments,
)

if __name__ == "__main__":
    conversion.main(DATASET)
