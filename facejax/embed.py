"""Embeds the photos in a directory tree, and writes their features into one file.

    python -m facejax.embed workdirs/demo photos --out=photos.npz
    python -m facejax.embed workdirs/demo photos --out=aligned.parquet --align --faces=all --neighbours=me.jpg

FILE.npz holds the arrays `paths`, `features` and, where the folder has sub-folders, `labels`: the name of the top-level
one. FILE.parquet holds the columns `path`, `features` and `label`. With --align or --crop, `box` is the place of the
face in the photo. Unreadable photos are skipped and listed.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence

from absl import logging
from etils import epath

from facejax import feature_file, paths
from facejax.command_line import Parser
from facejax.data import face_detection
from facejax.data.images import SUFFIXES
from facejax.errors import UserError, report_user_errors
from facejax.log_output import log_to_stderr
from facejax.progress import phase

LISTED = 20  # maximum number of skipped photos to list
NEAREST = 10  # number of faces that --neighbours shows


def parser() -> Parser:
    """The command line."""
    result = Parser("embed", __doc__)
    result.add_argument(
        "encoder", metavar="ENCODER", help="what facejax.load takes: a workdir, a folder, a file, hf://"
    )
    result.add_argument("folder", metavar="FOLDER", help="of the photos")
    result.add_argument("--out", required=True, metavar="FILE", help="FILE.npz or FILE.parquet")
    result.add_argument("--kind", help="kind of features; defaults to the encoder's first")
    result.add_argument("--flip", action="store_true", help="add the features of the mirror image, as for recognition")
    result.add_argument("--neighbours", metavar="IMAGE", help="print and draw the faces nearest to this one")
    face_detection.add_arguments(result)
    return result


def run(args: argparse.Namespace) -> None:
    """Embeds according to the arguments.

    Raises:
      UserError: an input does not exist or cannot be read, or an output exists.
    """
    folder, out = paths.resolve(args.folder), paths.resolve(args.out, "--out")
    write, names = feature_file.writer(out), image_names(folder)
    query = paths.resolve(args.neighbours, "--neighbours") if args.neighbours else None
    if query and not query.is_file():
        raise UserError(f"--neighbours={args.neighbours}: there is no such file")
    finder = face_detection.finder(args)
    with phase("Importing JAX"):
        from facejax import compilation_cache, photo_folder, pictures
        from facejax.encoder import load
        from facejax.face_cutter import FaceCutter

    compilation_cache.enable()
    encoder = load(args.encoder)
    cutter = FaceCutter(encoder, finder, args.crop)
    photos = photo_folder.PhotoFolder(folder, cutter, kind=encoder.kind(args.kind), flip=args.flip)
    began = time.perf_counter()
    found, skipped = photos.embed(names)
    seconds = time.perf_counter() - began
    tell_skipped(skipped)
    if not found.paths:
        raise UserError(f"{folder}: none of its {len(names)} images could be embedded")
    write(out, found)
    shape = " x ".join(map(str, found.features.shape))
    print(f"{out}: {found.kind} {shape}, of {len(names)} images at {len(names) / seconds:.0f} images/s")
    if query:
        nearest = photos.neighbours(found, query, NEAREST)
        for neighbour in nearest[1:]:
            print(f"{neighbour.cosine:.3f}  {neighbour.path}")
        picture = out.with_suffix(".neighbours.png")
        pictures.write_png(picture, photo_folder.draw(nearest))
        print(f"drawn in {picture}")


def image_names(folder: epath.Path) -> list[str]:
    """Names of all images below a folder, with slashes, sorted; hidden files and folders are skipped.

    Raises:
      UserError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    names = sorted(_images_below(folder, ""))
    if not names:
        raise UserError(f"there are no images in {folder}")
    return names


def _images_below(folder: epath.Path, prefix: str) -> Iterator[str]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _images_below(path, f"{prefix}{path.name}/")
        elif path.suffix.lower() in SUFFIXES:
            yield prefix + path.name


def tell_skipped(skipped: Mapping[str, str]) -> None:
    """Logs skipped photos: unreadable ones with the reason, and those without a face."""
    faceless = [name for name, reason in skipped.items() if reason == face_detection.NO_FACE]
    unreadable = [f"{name}: {reason}" for name, reason in skipped.items() if reason != face_detection.NO_FACE]
    for what, entries in (("that cannot be read", unreadable), ("without a face that was found", faceless)):
        if entries:
            logging.warning("Skipped %d images %s:", len(entries), what)
            for entry in entries[:LISTED]:
                logging.warning("  %s", entry)
            if len(entries) > LISTED:
                logging.warning("  ... and %d more", len(entries) - LISTED)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exit status 2 for a user's error."""
    log_to_stderr()
    with report_user_errors("embed"):
        run(parser().parse_args(argv))


if __name__ == "__main__":
    main()
