"""Paths as users write them: local ones become absolute, URLs stay URLs."""

import importlib.util
import os
import re

import fsspec
from etils import epath

from facejax.errors import UserError

# Scheme -> the package that epath uses for it.
FILE_SYSTEMS = {"gs": "gcsfs", "s3": "s3fs"}
CHECKPOINT_FILE_SYSTEMS = ("gs",)  # those that Orbax writes to

_CLIENTS = (*FILE_SYSTEMS.values(), "aiohttp", "botocore", "google")  # packages that raise their own errors

os.environ.setdefault("EPATH_USE_TF", "false")  # otherwise epath prefers TensorFlow if it is installed
for _scheme in FILE_SYSTEMS:
    # A cached listing would hide files of other processes.
    fsspec.config.conf.setdefault(_scheme, {}).setdefault("use_listings_cache", False)


def is_url(path: epath.PathLike) -> bool:
    """Whether a path is a URL, such as `gs://BUCKET/FOLDER`, and not on a local disk."""
    return "://" in os.fspath(path)


def resolve(path: epath.PathLike, key: str = "") -> epath.Path:
    """A user's path as an `epath.Path`: a URL unchanged, a local path absolute, `~` expanded.

    A URL is accessed once, so a wrong bucket, missing credentials or a missing network are reported immediately.

    Args:
      path: a relative or an absolute path, or a URL.
      key: the flag or config key that named it, for errors: `--workdir`.

    Raises:
      UserError: the URL is malformed, its scheme is not supported, the package for it is not installed, or it cannot be
        reached.

    Examples:
      >>> resolve("/data/../faces")
      PosixGPath('/faces')
    """
    text = os.fspath(path)
    given = f"{key}={text}" if key else text
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", text)
    if not scheme:
        return epath.Path(text).expanduser().resolve()
    if scheme[1] not in FILE_SYSTEMS:
        known = " and ".join(f"{name}://" for name in FILE_SYSTEMS)
        raise UserError(f"{given}: {scheme[1]}:// is not supported; use a local path (without a scheme), {known}")
    if not re.match(rf"{scheme[1]}://[^/]", text):
        raise UserError(f"{given}: a URL has the form {scheme[1]}://BUCKET/FOLDER")
    package = FILE_SYSTEMS[scheme[1]]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{given}: {scheme[1]}:// needs the package {package}: pip install {package}")
    url = epath.Path(text)
    try:
        url.exists()
    except Exception as error:  # each client raises its own errors
        raise UserError(
            f"{given} cannot be reached: {reason(error)}; check the bucket's name and your credentials"
        ) from error
    return url


def is_client_error(error: Exception) -> bool:
    """Whether an error comes from the client of a file system at a URL, not from a mistake in the program."""
    module = type(error).__module__.partition(".")[0]
    statuses = ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE")  # TensorStore's are ValueErrors
    return isinstance(error, OSError) or module in _CLIENTS or any(status in str(error) for status in statuses)


def reason(error: Exception) -> str:
    """The first line of an error that a file system's client raised."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def check_holds_checkpoints(path: epath.Path, key: str = "") -> None:
    """Raises UserError if checkpoints cannot be written to, and read from, the file system of a resolved path."""
    scheme = os.fspath(path).partition("://")[0]
    if is_url(path) and scheme not in CHECKPOINT_FILE_SYSTEMS:
        given = f"{key}={path}" if key else path
        known = " and ".join(f"{name}://" for name in CHECKPOINT_FILE_SYSTEMS)
        raise UserError(f"{given}: checkpoints cannot be on {scheme}://; use a local folder or {known}")
