"""The state dict in a file of `torch.save` or safetensors, whatever is around it."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
from etils import epath

from facejax.errors import UserError
from facejax.interop import torch_file

ENTRIES = ("teacher", "student", "state_dict", "model")  # of a checkpoint, that are looked for one in the other
SAFETENSORS = ".safetensors"
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(path: epath.PathLike, *, entry: str | None = None, shapes_only: bool = False) -> dict[str, np.ndarray]:
    """Arrays by key; nothing that the file says is run.

    Args:
      path: of the file.
      entry: of a self-supervised checkpoint, `teacher` or `student`; None: the teacher, if there is one.
      shapes_only: leave the data of a file of `torch.save` unread, see `torch_file.read`.

    Raises:
      UserError: there is no such file, it is damaged, or holds no state dict.
    """
    path = epath.Path(path)
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    content = torch_file.read(path, shapes_only=shapes_only)
    if entry is not None and not (isinstance(content, Mapping) and isinstance(content.get(entry), Mapping)):
        raise UserError(f"{path} has no entry '{entry}'")
    for key in ENTRIES if entry is None else (entry, *ENTRIES):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    entries = content.items() if isinstance(content, Mapping) else ()
    arrays = {key: value for key, value in entries if isinstance(key, str) and isinstance(value, np.ndarray)}
    if not arrays:
        named = ", ".join(f"'{name}'" for name in ENTRIES)
        raise UserError(f"{path} holds no state dict, neither by itself nor as one of {named}")
    return arrays


def _read_safetensors(path: epath.Path) -> dict[str, np.ndarray]:
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file, or is damaged: {error!s:.200}") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] in DTYPES:  # of the others none is a weight
            arrays[name] = np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if not arrays:
        raise UserError(f"{path} holds no tensors")
    return arrays
