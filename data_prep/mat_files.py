"""Reads numeric arrays from MATLAB files (.mat, before version 7.3), which execute nothing."""

import io
import math

import numpy as np
import scipy.io

_MAX_ELEMENTS = 1 << 20  # of one array; the files compress, so a small one may claim to be huge


def read(data: bytes, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays called `names`, as float64 in MATLAB's shape.

    Raises:
      ValueError: not such a file, truncated, or an array is missing, not of numbers, or implausibly large.
    """
    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(io.BytesIO(data))}
        wanted = [name for name in names if name in shapes and math.prod(shapes[name]) <= _MAX_ELEMENTS]
        content = scipy.io.loadmat(io.BytesIO(data), variable_names=wanted)
    except Exception as error:  # scipy raises a dozen kinds
        raise ValueError(f"not a MATLAB file before version 7.3, or damaged ({error})") from error
    arrays = {}
    for name in names:
        if name not in shapes:
            raise ValueError(f"has no array {name}")
        if name not in wanted:
            raise ValueError(f"{name} has the implausible shape {shapes[name]}")
        if not np.issubdtype(content[name].dtype, np.number):
            raise ValueError(f"{name} is not an array of numbers")
        arrays[name] = content[name].astype(np.float64)
    return arrays
