"""Official LAFS and Part fViT checkpoints (github.com/szlbiubiubiu) and our variables, in both directions."""

from collections.abc import Mapping

import numpy as np

from facejax.errors import UserError
from facejax.interop import torch_layout
from facejax.interop.torch_layout import CONV, Link, batch_norm, layer_norm, linear
from facejax.models.fvit import SIZES
from facejax.models.mobilenet import BLOCKS

UNUSED = "loss.weight"  # a classifier that the self-supervised networks carry along and never use


def landmark_links(key: str = "", path: str = "") -> list[Link]:
    """Key map of the landmark network, `stn.*` and `output_layer.*`; `key` and `path` are prefixes of both sides."""
    features = f"{key}stn.features"
    links = _conv_norm(f"{features}.0", 0, f"{path}trunk/stem")
    for index, (_, _, _, squeeze_excite, _, _) in enumerate(BLOCKS, start=1):
        there, here = f"{features}.{index}.conv", f"{path}trunk/block{index}"
        links += _conv_norm(there, 0, f"{here}/expand") + _conv_norm(there, 7, f"{here}/project")
        links += linear(f"{there}.3", f"{here}/depthwise", CONV, bias=False)
        links += batch_norm(f"{there}.4", f"{here}/depthwise_norm")
        if squeeze_excite:
            links += linear(f"{there}.5.fc.0", f"{here}/squeeze_excite/reduce", bias=False)
            links += linear(f"{there}.5.fc.2", f"{here}/squeeze_excite/expand", bias=False)
    return [*links, *linear(f"{key}output_layer.1", f"{path}output")]


def _conv_norm(key: str, number: int, path: str) -> list[Link]:
    norm = batch_norm(f"{key}.{number + 1}", f"{path}/norm")
    return linear(f"{key}.{number}", f"{path}/conv", CONV, bias=False) + norm


def transformer_links(depth: int, key: str = "", path: str = "") -> list[Link]:
    """Key map of the transformer, without landmark network and classifier."""
    links = [
        Link(f"{key}pos_embedding", f"params/{path}positions"),
        Link(f"{key}cls_token", f"params/{path}class_token"),
        *linear(f"{key}patch_to_embedding", f"{path}patch_embedding"),
        *layer_norm(f"{key}mlp_head.0", f"{path}norm"),
    ]
    for index in range(depth):
        there, here = f"{key}transformer.layers.{index}", f"{path}block{index}"
        links += layer_norm(f"{there}.0.fn.norm", f"{here}/norm1")
        links += linear(f"{there}.0.fn.fn.to_qkv", f"{here}/attention/qkv", bias=False)
        links += linear(f"{there}.0.fn.fn.to_out.0", f"{here}/attention/out")
        links += layer_norm(f"{there}.1.fn.norm", f"{here}/norm2")
        links += linear(f"{there}.1.fn.fn.net.0", f"{here}/mlp/hidden")
        links += linear(f"{there}.1.fn.fn.net.3", f"{here}/mlp/output")
    return links


def recognition_links(depth: int, landmarks: bool = True) -> list[Link]:
    """Key map of a network of the supervised stages, with its classifier."""
    return [
        *(landmark_links(path="landmark_network/") if landmarks else []),
        *transformer_links(depth, path="transformer/"),
        Link("loss.weight", "params/classifier"),
    ]


def student_links(depth: int) -> list[Link]:
    """Key map of the self-supervised student, and of the teacher: transformer and head."""
    links = transformer_links(depth, "backbone.", "transformer/")
    for index in range(3):
        links += linear(f"head.mlp.{2 * index}", f"head/layer{index}")
    return [*links, Link("head.last_layer.weight_v", "params/head/last_layer")]


def landmark_network_from_official(state_dict: Mapping[str, np.ndarray], *, source: str = "state dict") -> dict:
    """Variables of the landmark network out of the state dict of a whole Part fViT; the rest of it is ignored.

    Args:
      state_dict: arrays by key; the prefixes `module.` and `backbone.` are removed.
      source: name for errors.

    Returns:
      `{"params", "batch_stats"}` for `facejax.models.landmarks.LandmarkNetwork`.

    Raises:
      UserError: a key is missing.
    """
    arrays = torch_layout.without_prefixes(state_dict, "module.", "backbone.")
    arrays = {key: array for key, array in arrays.items() if key.startswith(("stn.", "output_layer."))}
    return torch_layout.from_torch(landmark_links(), arrays, source)


def transformer_from_official(
    state_dict: Mapping[str, np.ndarray], *, size: str = "base", source: str = "state dict"
) -> dict:
    """Parameters of the transformer out of the state dict of a teacher, a student or a network for recognition.

    Args:
      state_dict: arrays by key; the prefixes `module.` and `backbone.` are removed. Head, classifier and landmark
        network are ignored.
      size: a key of `facejax.models.fvit.SIZES`.
      source: name for errors.

    Returns:
      `{"params": ...}` for `facejax.models.fvit.FViT`.

    Raises:
      UserError: a key is missing or unknown.
    """
    others = ("stn.", "output_layer.", "head.", "loss.")
    arrays = torch_layout.without_prefixes(state_dict, "module.", "backbone.")
    arrays = {key: array for key, array in arrays.items() if not key.startswith(others)}
    return torch_layout.from_torch(transformer_links(SIZES[size]["depth"]), arrays, source)


def recognition_from_official(
    state_dict: Mapping[str, np.ndarray], *, size: str = "base", landmarks: bool = True, source: str = "state dict"
) -> dict:
    """Variables of a network of the supervised stages, classifier included.

    Args:
      state_dict: arrays by key; a prefix `module.` is removed.
      size: a key of `facejax.models.fvit.SIZES`.
      landmarks: whether it is a Part fViT.
      source: name for errors.

    Raises:
      UserError: a key is missing or unknown.
    """
    links = recognition_links(SIZES[size]["depth"], landmarks)
    return torch_layout.from_torch(links, torch_layout.without_prefixes(state_dict, "module."), source)


def recognition_to_official(variables: Mapping, *, size: str = "base", landmarks: bool = True) -> dict[str, np.ndarray]:
    """The inverse of `recognition_from_official`, without `num_batches_tracked`."""
    return torch_layout.to_torch(recognition_links(SIZES[size]["depth"], landmarks), variables)


def student_from_official(
    state_dict: Mapping[str, np.ndarray], *, size: str = "base", source: str = "state dict"
) -> dict:
    """Parameters of a student or teacher with its head.

    Args:
      state_dict: the entry `student` or `teacher` of a checkpoint; a prefix `module.` is removed. The scale of the
        last layer, which stays 1, and the unused classifier are left out.
      size: a key of `facejax.models.fvit.SIZES`.
      source: name for errors.

    Returns:
      `{"params": {"transformer", "head"}}`.

    Raises:
      UserError: a key is missing or unknown, or the scale of the last layer is not 1.
    """
    arrays = torch_layout.without_prefixes(state_dict, "module.")
    if np.any(np.asarray(arrays.pop("head.last_layer.weight_g", 1)) != 1):
        raise UserError(f"{source}: head.last_layer.weight_g is not 1, at which LAFS fixes it")
    arrays.pop(f"backbone.{UNUSED}", None)
    return torch_layout.from_torch(student_links(SIZES[size]["depth"]), arrays, source)


def student_to_official(variables: Mapping, *, size: str = "base") -> dict[str, np.ndarray]:
    """The inverse of `student_from_official`: the scale of the last layer is there, the unused classifier is not."""
    state_dict = torch_layout.to_torch(student_links(SIZES[size]["depth"]), variables)
    rows = len(state_dict["head.last_layer.weight_v"])
    return state_dict | {"head.last_layer.weight_g": np.ones((rows, 1), np.float32)}
