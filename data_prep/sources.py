"""Reads the folder that a data set was unpacked into: lists, tables and names, without leaving the folder."""

import csv
import errno
import functools
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from facejax.data.images import SUFFIXES
from facejax.errors import UserError


def inside(source: Path, name: str) -> str:
    """The real path of `name` in the source folder.

    Raises:
      ValueError: it leads out of the folder, by `..`, as an absolute path or through a link.
    """
    if "\0" in name:
        raise ValueError("a name with a zero byte in it")
    root = _real(source)
    path = os.path.realpath(os.path.join(root, name))
    if path != root and not path.startswith(root.rstrip(os.sep) + os.sep):
        raise ValueError("the path leads out of the source folder: refused")
    return path


def read_file(source: Path, name: str, max_bytes: int) -> bytes:
    """The bytes of a file, which must be in the source folder after following links.

    Raises:
      ValueError: it leads out of the folder, is no plain file, or has more than `max_bytes`.
      OSError: it is missing or cannot be read.
    """
    folder, _, last = name.rpartition("/")
    if last in ("", ".", "..") or "\0" in name:
        path = inside(source, name)
    else:
        path = f"{_real_folder(source, folder)}/{last}"
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        descriptor = os.open(inside(source, name), _OPEN)  # a link
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        linked = os.path.islink(os.path.join(source, name))
        raise ValueError("a link to a folder that contains the link: not followed" if linked else "not a file")
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a file")
        if status.st_size > max_bytes:
            raise ValueError(f"{status.st_size} bytes exceed the limit of {max_bytes} for an image")
        return file.read()


_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe does not block


@functools.lru_cache(1024)
def _real_folder(source: Path, folder: str) -> str:
    return inside(source, folder)


@functools.lru_cache(8)
def _real(source: Path) -> str:
    return os.path.realpath(source)


def find(source: Path, *names: str) -> Path:
    """The first of several names, relative to the source, that exists.

    Raises:
      UserError: none exists, or it leads out of the source.
    """
    for name in names:
        try:
            path = Path(inside(source, name))
        except ValueError as error:
            raise UserError(f"{source / name}: {error}") from None
        if path.exists():
            return path
    raise UserError(f"{source} lacks {' or '.join(names)}; see --help for what --source holds")


def find_folder(source: Path, *names: str) -> str:
    """`find`, for a folder; its name relative to the source, with slashes."""
    path = find(source, *names)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; see --help for what --source holds")
    return path.relative_to(_real(source)).as_posix()


def read_lines(path: Path) -> Iterator[str]:
    """The non-empty lines of a text file, without line ends and byte order mark.

    Raises:
      UserError: the file is missing or not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    yield line.rstrip("\r\n")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; see --help for what --source holds") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}, byte {error.start}); convert it") from None


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header, spaces around names and values dropped.

    Raises:
      UserError: the file is missing, not UTF-8, or lacks one of `columns`.
    """
    rows = _csv_rows(path)
    header = [name.strip() for name in next(rows, [])]
    if missing := [name for name in columns if name not in header]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(header) or 'none'}")
    for number, row in enumerate(rows, 2):
        if len(row) < len(header):
            raise UserError(f"{path}, row {number}: {len(row)} values where the header has {len(header)} columns")
        yield dict(zip(header, (value.strip() for value in row), strict=False))


def _csv_rows(path: Path) -> Iterator[list[str]]:
    try:
        yield from csv.reader(read_lines(path))
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file, or is damaged: {error}") from None


def image_names(source: Path, folder: str = "") -> Iterator[str]:
    """Names of all image files below a folder of the source, relative to the source, with slashes, in sorted order.

    Hidden files and folders are skipped, and files not named like an image. A link to a folder outside of the source,
    or to one that contains the link, is not followed but listed like an image: `read_file` then reports it.

    Raises:
      UserError: the folder does not exist, or leads out of the source without being a link.
    """
    if not os.path.islink(source / folder) and not _is_inside(source, folder):
        raise UserError(f"{source / folder}: the path leads out of the source folder: refused")
    parts = folder.split("/")
    above = [source.joinpath(*parts[:depth]) for depth in range(len(parts))] if folder else []
    yield from _image_names(source, folder, frozenset(map(os.path.realpath, above)))


def _image_names(source: Path, folder: str, above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(source / folder)
    if os.path.islink(source / folder) and (real in above or not _is_inside(source, folder)):
        yield folder
        return
    for entry in _entries(source, folder):
        name = f"{folder}/{entry.name}" if folder else entry.name
        if _is_folder(entry):
            yield from _image_names(source, name, above | {real})
        elif entry.name.lower().endswith(SUFFIXES):
            yield name


def _is_inside(source: Path, name: str) -> bool:
    try:
        inside(source, name)
    except ValueError:
        return False
    return True


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def folder_names(source: Path, folder: str = "") -> list[str]:
    """Names of the folders directly in a folder of the source, sorted, without hidden ones."""
    return [entry.name for entry in _entries(source, folder) if _is_folder(entry)]


def people(source: Path, root: str, names: Sequence[str], first: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
    """The images of folders with one person each.

    Args:
      source: the source folder.
      root: the folder in it that holds the people's folders; "": the source itself.
      names: of the people's folders.
      first: number of the first of them.

    Yields:
      The labels `identity` (a number) and `name` (the folder's), and the name of an image, one person after the other.
    """
    for number, name in enumerate(names, first):
        for image in image_names(source, f"{root}/{name}" if root else name):
            yield {"identity": number, "name": name}, image


def _entries(source: Path, folder: str) -> list[os.DirEntry]:
    try:
        path = inside(source, folder)
    except ValueError as error:
        raise UserError(f"{source / folder}: {error}") from None
    try:
        with os.scandir(path) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing; see --help for what --source holds") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def printable(text: str) -> str:
    """Valid UTF-8 for file names that are not UTF-8 on disk: their invalid bytes appear as \\xNN."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
