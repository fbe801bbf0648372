"""Checksums of the files in a folder, in a manifest that shows whether the folder is unchanged."""

import concurrent.futures
import json

import google_crc32c
from etils import epath

from facejax.files import write_json

NAME = "manifest.json"
CHUNK = 2**22  # bytes read at a time
THREADS = 8  # files read at the same time, which is faster for buckets and network disks


def write(folder) -> None:
    """Writes `folder/manifest.json`: size and CRC32C of every file in the subfolders.

    Files next to the manifest are excluded: orbax still writes its own there when a checkpoint is otherwise complete.

    Raises:
      UserError: no space is left, or the folder cannot be written.
    """
    folder = epath.Path(folder)
    files = sorted(
        name for subfolder in folder.iterdir() if subfolder.is_dir() for name in _files(subfolder, subfolder.name)
    )
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        sums = threads.map(lambda name: _size_and_sum(folder / name), files)
        entries = {name: {"bytes": size, "crc32c": f"{crc:08x}"} for name, (size, crc) in zip(files, sums, strict=True)}
    write_json(folder / NAME, {"files": entries, "crc32c": _sum_of_entries(entries)})


def find_damage(folder) -> str | None:
    """What is wrong with a folder that must match its manifest, or None.

    Files that the manifest does not list are ignored.

    Returns:
      A clause for a message, such as "state/_METADATA is missing".
    """
    folder = epath.Path(folder)
    if not folder.is_dir():
        return "it is not a folder"
    try:
        content = json.loads((folder / NAME).read_bytes())
        entries = content["files"]
        if not entries or content["crc32c"] != _sum_of_entries(entries):
            return f"{NAME} is damaged"
        files = {name: (entry["bytes"], entry["crc32c"]) for name, entry in entries.items()}
    except FileNotFoundError:
        return f"{NAME} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{NAME} is damaged"
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(lambda name: _find_damage(folder, name, *files[name]), files)
        return next(filter(None, found), None)


def _find_damage(folder, name: str, size, crc) -> str | None:
    file = folder / name
    try:
        found = file.stat()
        if found.is_directory:
            return f"{name} is a folder"
        if found.length != size:
            return f"{name} has {found.length} bytes instead of {size}"
        return None if f"{_size_and_sum(file)[1]:08x}" == crc else f"the checksum of {name} differs"
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    except (OSError, ValueError) as error:  # an unreadable sector or folder; an impossible file name
        return f"{name} cannot be read ({error})"


def _sum_of_entries(entries) -> str:
    return f"{google_crc32c.value(json.dumps(entries, sort_keys=True).encode()):08x}"


def _size_and_sum(file) -> tuple[int, int]:
    size = crc = 0
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            size += len(chunk)
            crc = google_crc32c.extend(crc, chunk)
    return size, crc


def _files(folder, name: str):
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, f"{name}/{path.name}")
        else:
            yield f"{name}/{path.name}"
