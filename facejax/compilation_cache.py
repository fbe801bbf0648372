"""Caches compiled programs on disk, so the next run that needs one loads it in a second."""

import pathlib

import jax
import platformdirs
from absl import logging
from jax._src import compilation_cache  # only JAX knows which installed compression it uses

LIMIT = 2 << 30  # bytes
CHECKED = "checked"  # a file whose time is that of the last check


def enable(enabled: bool = True) -> None:
    """Makes JAX cache everything that it compiles from now on, in the user's cache folder.

    A folder that JAX has from JAX_COMPILATION_CACHE_DIR is used instead. If the user's folder is not writable, nothing
    is cached and a warning is logged.

    Args:
      enabled: False: JAX neither reads nor writes any cache.
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
    """Removes incomplete entries, and the oldest ones beyond `limit` bytes in total.

    JAX writes an entry in place: a process that is killed meanwhile leaves a part of it, which JAX would fail to read,
    with a warning, and never replace. Only entries since the last check are read. An entry that another process is
    writing counts as incomplete, and is compiled again.
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
        except FileNotFoundError:  # another process removed it
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
    except Exception:  # each compression raises its own error
        return False
    return True
