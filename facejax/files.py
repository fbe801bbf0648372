"""Files that are there whole or not at all, and what is said when they cannot be written."""

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
    """Writes a file under a temporary name and renames it: whoever reads sees the old file or the new one, whole.

    Of several processes that write the same file, the last one wins. Folders on the way are made. `path` may be a URL.

    Raises:
      UserError: no space is left, or the folder or the URL cannot be written.
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
    """Copies a local file to a URL; what was there is replaced.

    Raises:
      UserError: the URL cannot be written, or does not hold as many bytes afterwards.
    """
    source = epath.Path(source)
    with named_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.copy(target, overwrite=True)
        size, wanted = target.stat().length, source.stat().length
    if size != wanted:
        raise UserError(f"{target} has {size} bytes after {wanted} were written: run the same command again")


def upload_folder(source, target: epath.Path) -> None:
    """`upload` of all files in a local folder and in those below it."""
    for path in Path(source).rglob("*"):
        if path.is_file():
            upload(path, target / path.relative_to(source))


@contextlib.contextmanager
def named_write_errors(path):
    """Context in which a full disk or a folder that cannot be written becomes a UserError that names `path`.

    At a URL it is what the client of the file system raises. Libraries underneath wrap the system's error in their
    own, so its text counts as well as its number.
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
        ours = file.startswith(folder) or f"{folder}/".startswith(f"{file}/")  # not a source that could not be read
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST) and ours:
            raise UserError(f"cannot write {path}: {os.strerror(number)}; choose another folder") from error
        raise
