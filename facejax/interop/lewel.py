"""LEWEL-B checkpoints of FRA's repository (github.com/zaczgao/Facial_Region_Awareness), in both directions."""

from collections.abc import Mapping

import numpy as np

from facejax.interop import fra, torch_layout
from facejax.interop.torch_layout import Link


def network_links(variant: str, mask: str, key: str) -> list[Link]:
    """Key map of one network, online or target, without predictors; `key` is `online_net.` or `target_net.`."""
    neck = f"{key}neck."
    return [
        *fra.resnet_links(variant, f"{key}backbone.", "backbone/"),
        *fra.mlp_links(f"{neck}proj", "projector"),
        *fra.mlp_links(f"{neck}proj_obj", "region_projector"),
        *(fra.decoder_links(1, f"{neck}proj_attn", "mask_decoder") if mask == "attn" else []),
    ]


def online_links(variant: str, mask: str) -> list[Link]:
    """Key map of the online network with its predictors."""
    return [*network_links(variant, mask, "online_net."), *fra.predictor_links()]


def from_official(
    state_dict: Mapping[str, np.ndarray], *, variant: str, mask: str = "attn", source: str = "state dict"
) -> tuple[dict, dict, np.ndarray]:
    """Variables of both networks, and the center, from an official state dict.

    Args:
      state_dict: arrays by key, see `facejax.interop.fra.split_networks`.
      variant: backbone, a key of `facejax.models.resnet.VARIANTS`.
      mask: one of `facejax.models.lewel.MASKS`.
      source: name for errors.

    Returns:
      `(online, target, center)`: variables `{"params", "batch_stats"}` of float32 arrays, as
      `facejax.models.lewel.LEWELNetwork` takes them, and [K] for `facejax.losses.centered_assignment`, which only
      `attn` uses.

    Raises:
      UserError: a key is missing or unknown.
    """
    online, target, center = fra.split_networks(state_dict)
    return (
        torch_layout.from_torch(online_links(variant, mask), online, source),
        torch_layout.from_torch(network_links(variant, mask, "target_net."), target, source),
        center,
    )


def to_official(
    online: Mapping, target: Mapping, center: np.ndarray, *, variant: str, mask: str = "attn", num_updates: int = 0
) -> dict[str, np.ndarray]:
    """The official state dict of both networks: the inverse of `from_official`, complete with every buffer.

    Args:
      online: variables of the online network.
      target: variables of the target network.
      center: [K].
      variant: backbone.
      mask: one of `facejax.models.lewel.MASKS`.
      num_updates: training steps so far; each moved every batch norm twice.

    Raises:
      UserError: the variables do not fit this model.
    """
    state_dict = torch_layout.to_torch(online_links(variant, mask), online)
    state_dict |= torch_layout.to_torch(network_links(variant, mask, "target_net."), target)
    return torch_layout.with_counts(state_dict, 2 * num_updates) | {"center": np.asarray(center)[None]}
