"""Official PCL checkpoints (github.com/DreamMr/PCL) and our variables, in both directions."""

import math
from collections.abc import Mapping

import numpy as np

from facejax.interop import torch_layout
from facejax.interop.torch_layout import CONV, Layout, Link, batch_norm, linear

CONVOLUTIONS = {  # of the trunk: name there -> here
    "conv1.0": "conv1/conv",
    "conv1.2": "conv2/conv",
    "layer1.0": "conv3/conv",
    "layer1.2.g": "attention1/g",
    "layer1.2.theta": "attention1/theta",
    "layer1.2.phi": "attention1/phi",
    "layer1.3": "conv4/conv",
    "layer2_1.0": "conv5/conv",
    "layer2_1.2.g": "attention2/g",
    "layer2_1.2.theta": "attention2/theta",
    "layer2_1.2.phi": "attention2/phi",
    "layer2_1.3": "conv6/conv",
    "resblock1.conv1": "block1/conv1",
    "resblock1.conv2": "block1/conv2",
    "resblock2.conv1": "block2/conv1",
    "resblock2.conv2": "block2/conv2",
    "layer2_2.0": "conv7/conv",
    "layer2_2.2": "conv8/conv",
    "layer3_1.0": "conv9/conv",
    "layer3_1.2": "conv10/conv",
}
BRANCHES = {"exp": "face", "pose": "pose"}  # name there -> here


def flattened(channels: int) -> Layout:
    """Linear weights on a flattened square grid: [out, C H W] <-> [H W C, out]."""

    def side(size):
        return math.isqrt(size // channels)

    def to_ours(x):
        grid = side(x.shape[1])
        return x.reshape(-1, channels, grid, grid).transpose(2, 3, 1, 0).reshape(-1, len(x))

    def to_torch(x):
        grid = side(x.shape[0])
        return x.reshape(grid, grid, channels, -1).transpose(3, 2, 0, 1).reshape(x.shape[1], -1)

    return Layout(to_ours, to_torch)


def encoder_links() -> list[Link]:
    """Key map of trunk and branches, `encoder.*`: all that an official encoder checkpoint holds."""
    links = []
    for there, here in CONVOLUTIONS.items():
        links += linear(f"encoder.{there}", f"trunk/{here}", CONV)
    for there, here in BRANCHES.items():
        for index, name in ((0, "conv1"), (2, "conv2")):
            links += linear(f"encoder.layer3_2_{there}.{index}", f"{here}_branch/{name}/conv", CONV)
    return links


def network_links(width: int = 64, doublings: int = 6) -> list[Link]:
    """Key map of the whole network.

    Args:
      width: channels of the trunk's first layers; a flattened grid has 2 width channels.
      doublings: of the decoder.
    """
    grid = flattened(2 * width)
    links = encoder_links()
    for there, here in BRANCHES.items():
        links += linear(f"{there}_fc.0", f"{here}_projection/hidden", grid)
        links += linear(f"{there}_fc.2", f"{here}_projection/output")
        links += batch_norm(f"{there}_fc.3", f"{here}_projection/norm")
    links += linear("decoder.fc", "decoder/linear", grid)
    for index in range(1, doublings + 1):
        links += linear(f"decoder.model.{4 * index - 2}", f"decoder/conv{index}", CONV)
        if index < doublings:
            links += batch_norm(f"decoder.model.{4 * index - 1}", f"decoder/norm{index}")
    return links


def from_official(state_dict: Mapping[str, np.ndarray], *, source: str = "state dict") -> dict:
    """Variables from an official state dict.

    Args:
      state_dict: arrays by key, of the encoder alone (`encoder.*`) or of everything. Prefixes `module.` are removed,
        `*.num_batches_tracked`, which nothing reads, is ignored.
      source: name for errors.

    Returns:
      `{"params"}` of an encoder, `{"params", "batch_stats"}` of everything; float32 arrays, as
      `facejax.models.pcl.PCLNetwork` takes them.

    Raises:
      UserError: a key is missing or unknown.
    """
    arrays = {key.replace("module.", ""): array for key, array in state_dict.items()}
    arrays = {key: array for key, array in arrays.items() if not key.endswith("num_batches_tracked")}
    whole = any(not key.startswith("encoder.") for key in arrays)
    width = len(arrays.get("encoder.conv1.0.weight", range(64)))
    doublings = sum(key.startswith("decoder.model.") and np.ndim(array) == 4 for key, array in arrays.items())
    links = network_links(width, doublings) if whole else encoder_links()
    return torch_layout.from_torch(links, arrays, source)


def to_official(variables: Mapping, *, num_updates: int = 0) -> dict[str, np.ndarray]:
    """The official state dict: the inverse of `from_official`, complete with every buffer.

    Args:
      variables: of the encoder alone, or of everything.
      num_updates: training steps so far; each moved the decoder's batch norms four times, the face projection's once
        and the pose projection's twice.

    Raises:
      UserError: the variables do not fit this model.
    """
    if "decoder" not in variables["params"]:
        return torch_layout.to_torch(encoder_links(), variables)
    width = variables["params"]["trunk"]["conv1"]["conv"]["kernel"].shape[-1]
    doublings = sum(name.startswith("conv") for name in variables["params"]["decoder"])
    state_dict = torch_layout.to_torch(network_links(width, doublings), variables)
    for key in [key for key in state_dict if key.endswith("running_var")]:
        forwards = {"decoder": 4, "exp_fc": 1, "pose_fc": 2}[key.split(".")[0]]
        state_dict[key.replace("running_var", "num_batches_tracked")] = np.asarray(forwards * num_updates)
    return state_dict
