"""Official FRA checkpoints (github.com/zaczgao/Facial_Region_Awareness) and our variables, in both directions."""

from collections.abc import Mapping

import numpy as np

from facejax.errors import UserError
from facejax.interop import torch_layout
from facejax.interop.torch_layout import CONV, CONV1D, CONV1X1, PACKED, PACKED_BIAS, Link, batch_norm, linear
from facejax.models.resnet import VARIANTS


def resnet_links(variant: str, key: str, path: str) -> list[Link]:
    """Key map of a torchvision-style ResNet without its classifier; `key` and `path` are prefixes of both sides."""
    block, depths, _ = VARIANTS[variant]
    convolutions = 3 if block.expansion == 4 else 2
    links = linear(f"{key}conv1", f"{path}conv1", CONV, bias=False) + batch_norm(f"{key}bn1", f"{path}bn1")
    for stage, depth in enumerate(depths, start=1):
        for index in range(depth):
            there, here = f"{key}layer{stage}.{index}", f"{path}layer{stage}_{index}"
            for number in range(1, convolutions + 1):
                links += linear(f"{there}.conv{number}", f"{here}/conv{number}", CONV, bias=False)
                links += batch_norm(f"{there}.bn{number}", f"{here}/bn{number}")
            if index == 0 and (stage > 1 or block.expansion > 1):
                links += linear(f"{there}.downsample.0", f"{here}/downsample_conv", CONV, bias=False)
                links += batch_norm(f"{there}.downsample.1", f"{here}/downsample_bn")
    return links


def find_variant(arrays: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """Backbone, a key of `facejax.models.resnet.VARIANTS`, and width, of a ResNet's state dict.

    Raises:
      ValueError: it is none of them.
    """
    stem, _, kernel, _ = arrays["conv1.weight"].shape
    depths = tuple(len({key.split(".")[1] for key in arrays if key.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4))
    expansion = len(arrays["layer1.0.conv3.weight"]) // stem if "layer1.0.conv3.weight" in arrays else 1
    inner = len(arrays["layer1.0.conv1.weight"])
    matching = [
        (name, factor)
        for name, (block, blocks, factor) in VARIANTS.items()
        if (block.expansion, blocks) == (expansion, depths) and stem % factor == 0
    ]
    if not matching or kernel != 7 or inner != stem:
        raise ValueError(f"a ResNet with {depths} blocks of expansion {expansion}, stem {kernel} x {kernel} x {stem}")
    name, factor = max(matching, key=lambda match: match[1] == stem // 64)  # 128 is twice 64, not one wide stem
    return name, stem // factor


def mlp_links(key: str, path: str) -> list[Link]:
    """Key map of a projector or predictor."""
    return [
        *linear(f"{key}.mlp.0", f"{path}/hidden", CONV1D, bias=False),
        *batch_norm(f"{key}.mlp.1", f"{path}/norm"),
        *linear(f"{key}.mlp.3", f"{path}/output", CONV1D, bias=False),
    ]


def _attention_links(key: str, path: str) -> list[Link]:
    return [
        Link(f"{key}.in_proj_weight", f"params/{path}/in_proj_kernel", PACKED),
        Link(f"{key}.in_proj_bias", f"params/{path}/in_proj_bias", PACKED_BIAS),
        *linear(f"{key}.out_proj", f"{path}/out_proj"),
    ]


def decoder_links(num_layers: int, key: str, path: str) -> list[Link]:
    """Key map of a mask decoder without its input projection."""
    links = [
        Link(f"{key}.query_embed.weight", f"params/{path}/queries"),
        *torch_layout.layer_norm(f"{key}.transformer.decoder.norm", f"{path}/norm"),
    ]
    for index in range(num_layers):
        there, here = f"{key}.transformer.decoder.layers.{index}", f"{path}/layer{index}"
        links += _attention_links(f"{there}.self_attn", f"{here}/self_attention")
        links += _attention_links(f"{there}.multihead_attn", f"{here}/cross_attention")
        for name in ("linear1", "linear2"):
            links += linear(f"{there}.{name}", f"{here}/{name}")
        for name in ("norm1", "norm2", "norm3"):
            links += torch_layout.layer_norm(f"{there}.{name}", f"{here}/{name}")
    for index in range(3):
        links += linear(f"{key}.mask_embed.layers.{index}", f"{path}/mask_embed{index}")
    return links


def network_links(variant: str, decoder_layers: int, key: str) -> list[Link]:
    """Key map of one network, online or target, without predictors; `key` is `online_net.` or `target_net.`."""
    neck = f"{key}neck."
    return [
        *resnet_links(variant, f"{key}backbone.", "backbone/"),
        *mlp_links(f"{neck}proj", "projector"),
        *mlp_links(f"{neck}proj_pixel", "pixel_projector"),
        *mlp_links(f"{neck}proj_obj", "region_projector"),
        *linear(f"{neck}proj_attn.input_proj", "mask_decoder/input_proj", CONV1X1),
        *decoder_links(decoder_layers, f"{neck}proj_attn", "mask_decoder"),
        Link(f"{neck}proto", "prototypes/mask_embeddings"),
    ]


def online_links(variant: str, decoder_layers: int) -> list[Link]:
    """Key map of the online network with its predictors."""
    return [
        *network_links(variant, decoder_layers, "online_net."),
        *predictor_links(),
    ]


def predictor_links() -> list[Link]:
    """Key map of the two predictors."""
    return [*mlp_links("predictor", "predictor"), *mlp_links("predictor_obj", "region_predictor")]


def split_networks(
    state_dict: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """The arrays of the online network with its predictors, those of the target, and the teacher's center [K].

    A prefix `module.` is removed. `encoder_q.*`, a second name of the online backbone, and `*.num_batches_tracked`,
    which nothing reads, are ignored. A center that is not in the state dict is 0.
    """
    online, target = {}, {}
    for key, array in torch_layout.without_prefixes(state_dict, "module.").items():
        if not key.startswith("encoder_q."):
            (target if key.startswith("target_net.") else online)[key] = array
    center = np.ravel(online.pop("center", 0))
    return online, target, center


def from_official(
    state_dict: Mapping[str, np.ndarray], *, variant: str, decoder_layers: int = 2, source: str = "state dict"
) -> tuple[dict, dict]:
    """Variables of both networks from an official state dict.

    Args:
      state_dict: arrays by key, see `split_networks`. The `center`, which stays 0, is left out.
      variant: backbone, a key of `facejax.models.resnet.VARIANTS`.
      decoder_layers: layers of the mask decoder.
      source: name for errors.

    Returns:
      `(online, target)`, each `{"params", "batch_stats", "prototypes"}` of float32 arrays, as
      `facejax.models.fra.FRANetwork` takes them.

    Raises:
      UserError: a key is missing or unknown, or the center is not 0.
    """
    online, target, center = split_networks(state_dict)
    if np.any(center):
        raise UserError(f"{source}: the teacher's center is not 0, which FRA never trained with")
    return (
        torch_layout.from_torch(online_links(variant, decoder_layers), online, source),
        torch_layout.from_torch(network_links(variant, decoder_layers, "target_net."), target, source),
    )


def to_official(
    online: Mapping, target: Mapping, *, variant: str, decoder_layers: int = 2, num_updates: int = 0
) -> dict[str, np.ndarray]:
    """The official state dict of both networks: the inverse of `from_official`, complete with every buffer.

    Args:
      online: variables of the online network.
      target: variables of the target network.
      variant: backbone.
      decoder_layers: layers of the mask decoder.
      num_updates: training steps so far; each moved every batch norm twice.

    Raises:
      UserError: the variables do not fit this model.
    """
    state_dict = torch_layout.to_torch(online_links(variant, decoder_layers), online)
    state_dict |= torch_layout.to_torch(network_links(variant, decoder_layers, "target_net."), target)
    center = np.zeros((1, len(online["prototypes"]["mask_embeddings"])), np.float32)
    return torch_layout.with_counts(state_dict, 2 * num_updates) | {"center": center}
