"""CASIA-WebFace: 494 414 faces of 10 575 people (Yi et al. 2014, https://arxiv.org/abs/1411.7923).

python -m data_prep.casia_webface --source=DIR --out=DIR [--without_lfw]
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep import conversion, sources
from data_prep.conversion import File, Item

# People who are also in LFW, whom the authors of SphereFace (https://arxiv.org/abs/1704.08063) excluded.
IN_LFW = ("0166921", "1056413", "1193098")


def read(source: Path, args: argparse.Namespace):
    """One split, `train`."""
    root = "CASIA-WebFace" if (source / "CASIA-WebFace").is_dir() else ""
    names = [name for name in sources.folder_names(source, root) if not (args.without_lfw and name in IN_LFW)]
    return conversion.PEOPLE, {"train": _items(source, root, names)}


def _items(source: Path, root: str, names: Sequence[str]) -> Iterator[Item]:
    for labels, image in sources.people(source, root, names):
        yield Item(File(image), labels)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--without_lfw", action="store_true", help="skip the three people who are also in LFW")


DATASET = conversion.Dataset(
    name="casia_webface",
    read=read,
    layout="0000045/001.jpg, ...: a folder for each person",
    description="Faces from the web, 250 x 250 pixels, a folder for each person.",
    homepage="http://www.cbsr.ia.ac.cn/english/CASIA-WebFace-Database.html",
    license="research only",
    citation="Yi et al., Learning Face Representation from Scratch, arXiv:1411.7923",
    add_arguments=_add_arguments,
    identity="identity",
)

if __name__ == "__main__":
    conversion.main(DATASET)
