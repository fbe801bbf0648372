"""An encoder on disk: `weights.safetensors`, and `facejax.json`, which describes them and their use."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from flax import traverse_util

from facejax.errors import UserError
from facejax.files import write_atomically, write_json

DESCRIPTION, WEIGHTS = "facejax.json", "weights.safetensors"
FORMAT = 1  # of the description; readers of smaller numbers reject it


def exists(folder) -> bool:
    """Whether an encoder was written into a folder."""
    return (epath.Path(folder) / DESCRIPTION).is_file()


def write(folder, description: Mapping[str, Any], variables: Mapping, *, replace: bool = False) -> None:
    """Writes an encoder: the weights, then the description with their digest, each atomically.

    Args:
      folder: is created if necessary; other files in it are not changed.
      description: JSON values.
      variables: nested dicts of NumPy arrays; an array is stored under its path, `params/backbone/conv1/kernel`.
      replace: whether to replace an existing encoder.

    Raises:
      UserError: an encoder exists (unless `replace`), or the folder is not writable.
    """
    if not replace:
        check_free(folder, DESCRIPTION, WEIGHTS)
    arrays = traverse_util.flatten_dict(variables, sep="/")
    weights = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_files(folder, description, {WEIGHTS: weights})


def check_free(folder, *names: str) -> None:
    """Raises UserError if one of the files is in a folder."""
    for name in names:
        if (file := epath.Path(folder) / name).exists():
            raise UserError(f"{file} exists already: choose another folder, or remove it first")


def write_files(folder, description: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Writes files by name, each atomically, then the description with their digests; replaces what is there.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = epath.Path(folder)
    for name, data in files.items():
        write_atomically(folder / name, data)
    content = {"format": FORMAT, **description, "files": {name: _digest(data) for name, data in files.items()}}
    write_json(folder / DESCRIPTION, content | {"digest": digest_of(content)})


def read(folder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Description and variables of an encoder, verified by their digests.

    Raises:
      UserError: there is none, or it has changed since it was written.
    """
    folder = epath.Path(folder)
    description = _read_description(folder / DESCRIPTION)
    weights = folder / WEIGHTS
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise UserError(f"{weights} cannot be read ({error.strerror or error}): copy the folder again") from error
    if _digest(data) != description["files"][WEIGHTS]:
        raise UserError(f"{weights} is not what {DESCRIPTION} next to it was written with: copy the folder again")
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError) as error:
        raise UserError(f"{weights} is damaged: {error!s:.200}") from error
    return description, traverse_util.unflatten_dict(arrays, sep="/")


def _read_description(file: epath.Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
        stated = content.pop("digest")
        if content["format"] > FORMAT:
            raise UserError(f"{file} was written by a newer facejax: pip install --upgrade facejax")
        if WEIGHTS not in content["files"]:
            names = ", ".join(content["files"])
            raise UserError(f"{file} is of {names}, which facejax does not read: export with --format=safetensors too")
        if stated != digest_of(content):
            raise UserError(f"{file} is damaged or was edited: its digest differs; copy the folder again")
    except FileNotFoundError as error:
        raise UserError(f"there is no {file}: name the folder of an encoder") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is damaged or not of an encoder: copy the folder again") from error
    return content


def digest_of(content: Mapping[str, Any]) -> str:
    """The digest at the end of a description, of everything before it."""
    return _digest(json.dumps(content, sort_keys=True).encode())


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
