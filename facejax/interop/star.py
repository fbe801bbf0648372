"""Official STAR checkpoints (github.com/ZhenglinZhou/STAR) and our variables, in both directions."""

from collections.abc import Mapping

import numpy as np

from facejax.errors import UserError
from facejax.interop import torch_layout
from facejax.interop.torch_layout import CONV, Link, batch_norm, linear
from facejax.models.hourglass import StackedHourglass, edge_weights

_HOURGLASS = {"up1": "across", "low1": "down", "low2": "inner", "low3": "up"}  # official name: ours
_MAPS = ("heatmaps", "pointmaps", "edgemaps")


def _blocks(network: StackedHourglass) -> list[tuple[str, str, int, int]]:
    """Every residual block: official key, our path, channels that come in and go out."""
    blocks = [
        ("pre.1", "stem_block0", network.stem_width // 2, network.stem_width),
        ("pre.3", "stem_block1", network.stem_width, network.stem_width),
        ("pre.4", "stem_block2", network.stem_width, network.width),
    ]
    for number in range(network.num_stacks):
        there, here = f"hgs.{number}", f"stack{number}/hourglass"
        pairs = [(f"features.{number}.0", f"stack{number}/block")]
        for level in range(network.num_levels):
            innermost = level == network.num_levels - 1
            names = _HOURGLASS if innermost else {key: name for key, name in _HOURGLASS.items() if key != "low2"}
            pairs += [(f"{there}.{key}", f"{here}/{name}") for key, name in names.items()]
            there, here = f"{there}.low2", f"{here}/inner"
        blocks += [(*pair, network.width, network.width) for pair in pairs]
    return blocks


def links(network: StackedHourglass) -> list[Link]:
    """Key map of everything that the network has; see `from_official` on what the official one has beyond it."""
    found = linear("pre.0.conv", "stem_conv", CONV) + batch_norm("pre.0.bn", "stem_norm")
    for there, here, inputs, outputs in _blocks(network):
        for number in (1, 2, 3):
            found += batch_norm(f"{there}.bn{number}", f"{here}/norm{number}")
            found += linear(f"{there}.conv{number}.conv", f"{here}/conv{number}", CONV)
        if inputs != outputs:
            found += linear(f"{there}.skip_layer.conv", f"{here}/shortcut", CONV)
    for number in range(network.num_stacks):
        here = f"stack{number}"
        found += linear(f"hgs.{number}.coordconv.conv", f"{here}/coordinates", CONV)
        found += linear(f"features.{number}.1.conv", f"{here}/conv", CONV)
        found += batch_norm(f"features.{number}.1.bn", f"{here}/norm")
        for name in _MAPS:
            found += linear(f"out_{name}.{number}.conv", f"{here}/{name}", CONV)
        if number < network.num_stacks - 1:
            for name in ("features", *_MAPS):
                found += linear(f"merge_{name}.{number}.conv", f"{here}/merge_{name}", CONV)
    return found


def _constants(network: StackedHourglass) -> dict[str, np.ndarray]:
    """The official buffers that follow from the edges."""
    weights, bias = edge_weights(network.edges, network.num_points)
    return {"e2h_transform.weight": weights.T[:, :, None, None], "e2h_transform.bias": bias}


def _unused(network: StackedHourglass) -> dict[str, tuple[int, ...]]:
    """Shapes of the official shortcuts of blocks that do not change the width, which are created and never called."""
    shapes: dict[str, tuple[int, ...]] = {}
    for there, _, inputs, outputs in _blocks(network):
        if inputs == outputs:
            shapes |= {f"{there}.skip_layer.conv.weight": (outputs, inputs, 1, 1)}
            shapes |= {f"{there}.skip_layer.conv.bias": (outputs,)}
    return shapes


def from_official(
    state_dict: Mapping[str, np.ndarray], network: StackedHourglass, *, source: str = "state dict"
) -> dict:
    """Variables of a `StackedHourglass`.

    Args:
      state_dict: the entry `net` or `net_ema` of a checkpoint; a prefix `module.` is removed. The shortcuts that no
        block calls and `*.num_batches_tracked`, which nothing reads, are ignored.
      network: of the same size, with the edges of the data set that it was trained on.
      source: name for errors.

    Returns:
      `{"params", "batch_stats"}` of float32 arrays.

    Raises:
      UserError: a key is missing or unknown, or the edges are others.
    """
    arrays = {key.removeprefix("module."): array for key, array in state_dict.items()}
    for key, expected in _constants(network).items():
        if key in arrays and not np.array_equal(arrays.pop(key), expected):
            raise UserError(f"{source}: {key} is not that of this network; is it of a data set with other edges?")
    unused = _unused(network)
    arrays = {
        key: array for key, array in arrays.items() if key not in unused and not key.endswith("num_batches_tracked")
    }
    return torch_layout.from_torch(links(network), arrays, source)


def to_official(variables: Mapping, network: StackedHourglass, *, num_updates: int = 0) -> dict[str, np.ndarray]:
    """The inverse of `from_official`, complete: the shortcuts that no block calls are 0.

    Args:
      variables: `{"params", "batch_stats"}`.
      network: whose variables they are.
      num_updates: training steps so far.

    Raises:
      UserError: the variables are not those of this network.
    """
    state_dict = torch_layout.to_torch(links(network), variables)
    for key in [key for key in state_dict if key.endswith("running_var")]:
        state_dict[key.replace("running_var", "num_batches_tracked")] = np.asarray(num_updates)
    unused = {key: np.zeros(shape, np.float32) for key, shape in _unused(network).items()}
    return state_dict | unused | _constants(network)
