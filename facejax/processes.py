"""What several processes decide, and gather, together."""

import json
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from facejax.errors import UserError


def decided_by_first(function: Callable):
    """Calls a function on process 0; every process returns its result, or raises its UserError.

    Args:
      function: takes no arguments and returns a JSON value.

    Raises:
      UserError: the function raised one; on the other processes, it failed in any way.
    """
    if jax.process_count() == 1:
        return function()
    answer, failure = None, None
    if jax.process_index() == 0:
        try:
            answer = {"result": function()}
        except BaseException as error:  # the others wait for an answer, whatever happened
            answer, failure = {"error": str(error) or repr(error)}, error
    answer = _from_first(answer)
    if failure is not None:
        raise failure
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["result"]


def _from_first(value):
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(content.size)))
    if jax.process_index() > 0:
        content = np.zeros(size, np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(content), np.uint8)))


def to_host(array) -> np.ndarray:
    """An array on this host; one that is split over hosts is gathered, and all processes must call this."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def rows_of_all(rows: np.ndarray) -> np.ndarray:
    """The rows [B, ...] of all H processes, one after the other: [B H, ...]. Bytes travel, so no type is narrowed."""
    if jax.process_count() == 1:
        return rows
    content = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    content = np.asarray(multihost_utils.process_allgather(content, tiled=True))
    return content.view(rows.dtype).reshape(-1, *rows.shape[1:])
