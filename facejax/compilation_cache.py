"""Compiled programs are cached on disk, so that the next run which needs the same one loads it in a second."""

import pathlib

import jax
import platformdirs
from absl import logging
from jax._src import compilation_cache  # JAX compresses with whatever is installed, and alone knows with what

LIMIT = 2 << 30  # bytes
CHECKED = "checked"  # a file as old as the last look at the entries


def enable(enabled: bool = True) -> None:
    """Has JAX cache what it compiles from now on, in the user's cache folder.

    A folder that JAX has already, from JAX_COMPILATION_CACHE_DIR, stays. Where the user's cannot be written, nothing is
    cached and a warning says so.

    Args:
      enabled: False has JAX neither read nor write a cache, wherever it is.
    """
    if not enabled:
        jax.config.update("jax_enable_compilation_cache", False)
    elif not jax.config.jax_compilation_cache_dir:
        folder = pathlib.Path(platformdirs.user_cache_dir("facejax")) / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            clean(folder)
        except OSError as error:
            logging.warning("Compiled programs are not cached: %s", error)
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))


def clean(folder: pathlib.Path, limit: int = LIMIT) -> None:
    """Removes entries that are cut off, and the oldest ones beyond `limit` bytes in all.

    JAX writes an entry in place: a process that is killed meanwhile leaves a part of it, which JAX would fail to read,
    with a warning, and never replace. Only entries that are new since the last look are read. One that another
    process is just writing counts as cut off; it is compiled once more then.
    """
    checked = folder / CHECKED
    since = checked.stat().st_mtime if checked.exists() else 0.0
    checked.touch()
    entries = []
    for path in folder.glob("*-cache"):
        try:
            status = path.stat()
            if status.st_mtime < since or _is_whole(path):
                entries.append((status.st_mtime, status.st_size, path))
            else:
                path.unlink()
        except FileNotFoundError:  # another process cleans too
            continue
    size = 0
    for _, length, path in sorted(entries, reverse=True):
        size += length
        if size > limit:
            path.unlink(missing_ok=True)


def _is_whole(entry: pathlib.Path) -> bool:
    try:
        compilation_cache.decompress_executable(entry.read_bytes())
    except OSError:
        raise
    except Exception:  # each compression has an error of its own
        return False
    return True
