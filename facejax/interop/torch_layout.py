"""Converts between PyTorch's array layouts and ours. A key map is a list of `Link`s for both directions.

PyTorch has convolution kernels OIHW and linear ones [out, in]; Flax has HWIO and [in, out].
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from facejax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array is laid out there and here; `to_ours` and `to_torch` are inverses."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))  # OIHW <-> HWIO
LINEAR = Layout(lambda x: x.T, lambda x: x.T)  # [out, in] <-> [in, out]
CONV1D = Layout(lambda x: x[:, :, 0].T, lambda x: x.T[:, :, None])  # [out, in, 1] <-> [in, out]
CONV1X1 = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])  # [out, in, 1, 1] <-> [in, out]
# [3 out, in] <-> [3, in, out]: query, key and value of `nn.MultiheadAttention`, and their bias [3 out] <-> [3, out].
PACKED = Layout(
    lambda x: x.reshape(3, -1, x.shape[1]).transpose(0, 2, 1),
    lambda x: x.transpose(0, 2, 1).reshape(-1, x.shape[1]),
)
PACKED_BIAS = Layout(lambda x: x.reshape(3, -1), lambda x: x.reshape(-1))


@dataclasses.dataclass(frozen=True)
class Link:
    """One array under both names: the state-dict key, and the path in our variables joined by slashes."""

    key: str
    path: str
    layout: Layout = SAME


def linear(key: str, path: str, layout: Layout = LINEAR, bias: bool = True) -> list[Link]:
    """Links of a linear layer or convolution."""
    links = [Link(f"{key}.weight", f"params/{path}/kernel", layout)]
    return [*links, Link(f"{key}.bias", f"params/{path}/bias")] if bias else links


def layer_norm(key: str, path: str) -> list[Link]:
    """Links of a layer norm."""
    return [Link(f"{key}.weight", f"params/{path}/scale"), Link(f"{key}.bias", f"params/{path}/bias")]


def batch_norm(key: str, path: str) -> list[Link]:
    """Links of a batch norm with its running statistics."""
    return [
        *layer_norm(key, path),
        Link(f"{key}.running_mean", f"batch_stats/{path}/mean"),
        Link(f"{key}.running_var", f"batch_stats/{path}/var"),
    ]


def without_prefixes(state_dict: Mapping[str, np.ndarray], *prefixes: str) -> dict[str, np.ndarray]:
    """A state dict without the given prefixes of its keys, taken off in turn, and without `num_batches_tracked`."""
    arrays = {}
    for key, array in state_dict.items():
        for prefix in prefixes:
            key = key.removeprefix(prefix)
        if not key.endswith("num_batches_tracked"):
            arrays[key] = array
    return arrays


def with_counts(state_dict: Mapping[str, np.ndarray], num_forwards: int) -> dict[str, np.ndarray]:
    """A state dict with the `num_batches_tracked` of every batch norm, which counts its forwards in training."""
    counts = {key.replace("running_var", "num_batches_tracked") for key in state_dict if key.endswith("running_var")}
    return {**state_dict, **{key: np.asarray(num_forwards) for key in counts}}


def from_torch(links: Iterable[Link], state_dict: Mapping[str, np.ndarray], source: str) -> dict:
    """Our variables from a state dict, every key used exactly once.

    Args:
      links: the key map.
      state_dict: arrays by PyTorch key.
      source: what the state dict was read from, for errors.

    Returns:
      Nested dict of float32 arrays, `{"params": ..., "batch_stats": ..., ...}`.

    Raises:
      UserError: a key is missing, left over, or its array has the wrong number of axes.
    """
    variables: dict = {}
    left = set(state_dict)
    for link in links:
        if link.key not in state_dict:
            raise UserError(f"{source}: the key {link.key} is missing; is this checkpoint of another model?")
        left.discard(link.key)
        array = np.asarray(state_dict[link.key], np.float32)
        try:
            array = link.layout.to_ours(array)
        except (ValueError, IndexError) as error:
            raise UserError(f"{source}: {link.key} has shape {array.shape}, which does not fit {link.path}") from error
        *folders, name = link.path.split("/")
        tree = variables
        for folder in folders:
            tree = tree.setdefault(folder, {})
        tree[name] = array
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise UserError(f"{source}: the key {min(left)}{more} has no place in this model")
    return variables


def to_torch(links: Iterable[Link], variables: Mapping) -> dict[str, np.ndarray]:
    """A state dict from our variables: the inverse of `from_torch`, float dtypes kept.

    Raises:
      UserError: our variables hold an array that the map does not name, or lack one that it does.
    """
    arrays = dict(_leaves(variables))
    state_dict = {}
    for link in links:
        if link.path not in arrays:
            raise UserError(f"{link.path} is missing in the variables; it would become {link.key}")
        state_dict[link.key] = link.layout.to_torch(np.asarray(arrays.pop(link.path)))
    if arrays:
        raise UserError(f"{min(arrays)} has no PyTorch key in this model's map")
    return state_dict


def _leaves(tree: Mapping, prefix: str = ""):
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value
