"""Files that exist either completely or not at all, and errors when they cannot be written."""

import contextlib
import errno
import json
import os
import secrets
from pathlib import Path

from etils import epath

from facejax import paths
from facejax.errors import UserError


def write_atomically(path, content: bytes | str) -> None:
    """Writes a file under a temporary name and renames it: readers see the complete old file or the complete new one.

    If several processes write the same file, the last one wins. Missing folders are created. `path` may be a URL.

    Raises:
      UserError: no space is left, or the folder or the URL is not writable.
    """
    path = epath.Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                if not paths.is_url(temporary):
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path, value) -> None:
    """`write_atomically` of indented JSON, keys in the order given."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def upload(source, target: epath.Path) -> None:
    """Copies a local file to a URL, replacing what is there.

    Raises:
      UserError: the URL cannot be written, or has another size afterwards.
    """
    source = epath.Path(source)
    with named_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.copy(target, overwrite=True)
        size, wanted = target.stat().length, source.stat().length
    if size != wanted:
        raise UserError(f"{target} has {size} bytes after {wanted} were written: run the same command again")


def upload_folder(source, target: epath.Path) -> None:
    """`upload` of all files in a local folder and its subfolders."""
    for path in Path(source).rglob("*"):
        if path.is_file():
            upload(path, target / path.relative_to(source))


@contextlib.contextmanager
def named_write_errors(path):
    """Context that turns a full disk or an unwritable folder into a UserError that names `path`.

    At a URL it does so for errors of the file system's client. Libraries wrap the system's error in their own, so its
    text counts as well as its number.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if paths.is_url(path) and paths.is_client_error(error):
            raise UserError(f"cannot write {path}: {paths.reason(error)}") from error
        number, file = getattr(error, "errno", None), str(getattr(error, "filename", None))
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise UserError(
                f"no space left while writing {path}: free some, then run the same command again"
            ) from error
        folder = os.fspath(epath.Path(path).parent)
        ours = file.startswith(folder) or f"{folder}/".startswith(f"{file}/")  # not if a source is unreadable
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST) and ours:
            raise UserError(f"cannot write {path}: {os.strerror(number)}; choose another folder") from error
        raise
