"""The weights of encoders under the names that other people's code gives them, in both directions."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from facejax.architectures import Architecture, PartFViT, PCLBranches, PooledResNet, ViT
from facejax.errors import UserError
from facejax.interop import fra, lafs, pcl, torch_layout, vit
from facejax.interop.torch_layout import Link
from facejax.models.fvit import SIZES


@dataclasses.dataclass(frozen=True)
class Naming:
    """Names for the weights of one kind of network.

    Attributes:
      name: whose names they are.
      links: the key map of an architecture; it may name more than the encoder has.
    """

    name: str
    links: Callable[[Any], list[Link]]


def _resnet_links(architecture: PooledResNet) -> list[Link]:
    return fra.resnet_links(architecture.backbone, "", "backbone/")


def _pcl_links(architecture: PCLBranches) -> list[Link]:
    doublings = int(math.log2(architecture.decoder_size)) if architecture.decoder_size else 0
    return pcl.network_links(architecture.width, doublings)


def _part_fvit_links(architecture: PartFViT) -> list[Link]:
    depth = SIZES[architecture.size]["depth"]
    return [*lafs.landmark_links(path="landmark_network/"), *lafs.transformer_links(depth, path="transformer/")]


def _vit_links(architecture: ViT) -> list[Link]:
    if architecture.variant == "deit":
        return vit.deit_links(architecture.depth)
    return [dataclasses.replace(link, key=f"visual.{link.key}") for link in vit.clip_links(architecture.depth)]


_NAMINGS: dict[type[Architecture], Naming] = {
    PooledResNet: Naming("torchvision", _resnet_links),
    PCLBranches: Naming("PCL", _pcl_links),
    PartFViT: Naming("Part fViT", _part_fvit_links),
    ViT: Naming("ViT", _vit_links),
}


def naming(architecture: Architecture) -> str:
    """Whose names the weights of an architecture have.

    Raises:
      UserError: it is not known how others name them.
    """
    if type(architecture) not in _NAMINGS:
        raise UserError(f"{type(architecture).__name__} has no names in PyTorch: its weights stay in facejax's own")
    return _NAMINGS[type(architecture)].name


def to_torch(architecture: Architecture, size: int, variables: Mapping) -> dict[str, np.ndarray]:
    """A state dict of an encoder's variables, for images of `size` px; without `num_batches_tracked`.

    Raises:
      UserError: it is not known how others name them.
    """
    return torch_layout.to_torch(_links(architecture, size), variables)


def from_torch(architecture: Architecture, size: int, state_dict: Mapping[str, np.ndarray], source: str) -> dict:
    """The inverse of `to_torch`; `source` is for errors.

    Raises:
      UserError: it is not known how others name them; a key is missing or left over.
    """
    return torch_layout.from_torch(_links(architecture, size), state_dict, source)


def _links(architecture: Architecture, size: int) -> list[Link]:
    naming(architecture)
    needed = traverse_util.flatten_dict(architecture.shapes(size), sep="/").keys()
    return [link for link in _NAMINGS[type(architecture)].links(architecture) if link.path in needed]
