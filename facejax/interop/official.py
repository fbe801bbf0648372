"""Other people's checkpoints as encoders: their keys identify the network."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging
from etils import epath
from flax import traverse_util

from facejax.architectures import Architecture
from facejax.architectures.fra_regions import FRARegions
from facejax.architectures.lewel_regions import LEWELRegions
from facejax.architectures.part_fvit import PartFViT
from facejax.architectures.pcl_branches import PCLBranches
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.architectures.vit import ViT
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.interop import fra, lafs, lewel, pcl, pretrained, torch_layout, vit, weights_file
from facejax.interop.torch_layout import Link
from facejax.models.fvit import HEAD_WIDTH, SIZES
from facejax.preprocessing import Preprocessing

Arrays = Mapping[str, np.ndarray]
WRAPPERS = ("module.", "_orig_mod.")  # prefixes of parallel and compiled modules, anywhere in a key
SECOND = ("target_net.", "encoder_k.", "momentum_", "_ema.")  # in the prefix of a network that follows another one

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VGGFACE2 = Preprocessing(
    224, interpolation="bilinear", mean=(0.5231, 0.4044, 0.3489), std=(0.2536, 0.2194, 0.2070)
)  # FRA's
ALIGNED = Preprocessing(112, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)  # LAFS'
CLIP = dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
# Bulat et al., ECCV 2022 (arXiv:2103.16554); the first deviation is theirs.
FRL = Preprocessing(
    224, fit="crop", crop_fraction=0.875, interpolation="bilinear", mean=IMAGENET["mean"], std=(0.228, 0.224, 0.225)
)


@dataclasses.dataclass(frozen=True)
class Recognised:
    """Contents of a file.

    Attributes:
      method: its name.
      architecture: of the encoder.
      preprocessing: of the release.
      links: key map; keys without `prefix`. Keys that the architecture does not need remain.
      prefix: of the keys.
      missing: parts of a complete release that this file lacks.
    """

    method: str
    architecture: Architecture
    preprocessing: Preprocessing
    links: Iterable[Link]
    prefix: str = ""
    missing: tuple[str, ...] = ()


def read(
    path: epath.PathLike,
    *,
    landmark_network: epath.PathLike | None = None,
    mask: str | None = None,
    entry: str | None = None,
) -> Encoder:
    """The encoder in a file of `torch.save` or safetensors; `facejax.load` says what the arguments are.

    Raises:
      UserError: the file is damaged, of a network that is not known, or lacks a key.
    """
    arrays = {}
    for key, array in weights_file.read(path, entry=entry).items():
        for wrapper in WRAPPERS:
            key = key.replace(wrapper, "")
        arrays[key] = array
    found = _recognise(arrays, str(path))
    if mask is not None:
        found = _with_mask(found, mask, str(path))
    given, missing = {}, found.missing
    if landmark_network is not None:
        found, given = _with_landmarks(found, landmark_network, str(path))
        missing = ()
    variables, left_over = _convert(found, arrays, str(path))
    card = {
        "method": found.method,
        "source": str(path),
        "loaded": len(arrays) - len(left_over),
        "left_over": left_over,
        "missing": list(missing),
    }
    _tell(card)
    return Encoder.create(found.architecture, _merged(variables, given), found.preprocessing, card)


def _recognise(arrays: Arrays, source: str) -> Recognised:
    for family in FAMILIES:
        try:
            found = family(arrays)
        except KeyError as error:
            raise UserError(f"{source}: the key {error} is missing; is it whole?") from error
        except (IndexError, ValueError) as error:
            raise UserError(f"{source}: its shapes are of no network that is known ({error!s:.150})") from error
        if found is not None:
            return found
    names = ", ".join(sorted(arrays)[:3])
    raise UserError(
        f"{source} is of no network that is known (it has {len(arrays)} arrays: {names}, ...): FRA, LEWEL, PCL, LAFS, "
        "Part fViT, ResNets as torchvision names them, ViTs as DeiT, DINO or timm name them, FaRL"
    )


def _convert(found: Recognised, arrays: Arrays, source: str) -> tuple[dict[str, Any], list[str]]:
    """Variables of the encoder; the keys that it does not need."""
    shapes = found.architecture.shapes(found.preprocessing.size)
    needed = set(traverse_util.flatten_dict(shapes, sep="/"))
    links = [link for link in found.links if link.path in needed]
    keys = {found.prefix + link.key for link in links}
    own = {key.removeprefix(found.prefix): array for key, array in arrays.items() if key in keys}
    left_over = sorted(key for key in arrays if key not in keys and not key.endswith("num_batches_tracked"))
    return torch_layout.from_torch(links, own, source), left_over


def _tell(card: Mapping[str, Any]) -> None:
    logging.info("Loaded %d arrays of %s from %s", card["loaded"], card["method"], card["source"])
    groups: dict[str, int] = {}
    for key in card["left_over"]:
        group = key.split(".")[0]
        groups[group] = groups.get(group, 0) + 1
    if groups:
        logging.info("Left over: %s", ", ".join(f"{name} ({count})" for name, count in groups.items()))
    for name in card["missing"]:
        logging.warning("%s lacks %s", card["source"], name)


def _merged(variables: Mapping, more: Mapping) -> dict[str, Any]:
    flat = traverse_util.flatten_dict(variables) | traverse_util.flatten_dict(more)
    return traverse_util.unflatten_dict(flat)


# --- What files do not tell


def _with_mask(found: Recognised, mask: str, source: str) -> Recognised:
    if not isinstance(found.architecture, LEWELRegions):
        raise UserError(f"{source}: mask={mask!r} is for LEWEL; this is {found.method}")
    if (mask == "attn") != (found.architecture.mask == "attn"):
        raise UserError(f"{source}: mask={mask!r} is not that of the file, which has {found.architecture.mask!r}")
    return dataclasses.replace(found, architecture=dataclasses.replace(found.architecture, mask=mask))


def _with_landmarks(found: Recognised, landmark_network: epath.PathLike, source: str) -> tuple[Recognised, dict]:
    if not isinstance(found.architecture, PartFViT) or found.architecture.has_landmarks:
        raise UserError(f"{source}: landmark_network is for a transformer of LAFS without one; this is {found.method}")
    there = pretrained.landmark_network(landmark_network)
    architecture = dataclasses.replace(found.architecture, has_landmarks=True)
    variables = {name: {"landmark_network": tree} for name, tree in there.items()}
    return dataclasses.replace(found, architecture=architecture), variables


# --- Families


def _prefix(arrays: Arrays, anchor: str) -> str | None:
    """The prefix of a family's key; among several networks that of the trained one."""
    prefixes = [key.removesuffix(anchor) for key in arrays if key.endswith(anchor)]
    prefixes = [prefix for prefix in prefixes if not prefix or prefix.endswith(".")]
    first = [prefix for prefix in prefixes if not any(name in prefix for name in SECOND)]
    return min(first or prefixes, key=len, default=None)


def _without(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _count(arrays: Arrays, pattern: str) -> int:
    """Number of different values of a pattern's group in the keys."""
    return len({match[1] for key in arrays if (match := re.match(pattern, key))})


def _fra(arrays: Arrays) -> Recognised | None:
    neck = "online_net.neck."
    if f"{neck}proto" not in arrays:
        return None
    variant, width = fra.find_variant(_without(arrays, "online_net.backbone."))
    hidden, _, _ = arrays[f"{neck}proj.mlp.0.weight"].shape
    regions, dimensions = arrays[f"{neck}proto"].shape
    architecture = FRARegions(variant, width, embedding_dim=dimensions, hidden_dim=hidden, num_regions=regions)
    return Recognised("fra", architecture, VGGFACE2, fra.network_links(variant, 0, "online_net."))


def _lewel(arrays: Arrays) -> Recognised | None:
    neck = "online_net.neck."
    if f"{neck}proj.mlp.0.weight" not in arrays:
        return None
    variant, width = fra.find_variant(_without(arrays, "online_net.backbone."))
    hidden, _, _ = arrays[f"{neck}proj.mlp.0.weight"].shape
    dimensions, _, _ = arrays[f"{neck}proj.mlp.3.weight"].shape
    queries = arrays.get(f"{neck}proj_attn.query_embed.weight")
    regions = LEWELRegions.num_regions if queries is None else len(queries)
    mask = "group" if queries is None else "attn"
    architecture = LEWELRegions(
        variant, width, embedding_dim=dimensions, hidden_dim=hidden, mask=mask, num_regions=regions
    )
    missing = () if queries is not None else ("the kind of its mask (taken for 'group'; mask= says another)",)
    links = lewel.network_links(variant, mask, "online_net.")
    return Recognised("lewel", architecture, VGGFACE2, links, missing=missing)


def _pcl(arrays: Arrays) -> Recognised | None:
    if "encoder.layer3_2_exp.0.weight" not in arrays:
        return None
    width = len(arrays["encoder.conv1.0.weight"])
    doublings = sum(key.startswith("decoder.model.") and array.ndim == 4 for key, array in arrays.items())
    decodes = "decoder.fc.weight" in arrays
    grid = math.isqrt(arrays["decoder.fc.weight"].shape[1] // (2 * width)) if decodes else 4
    architecture = PCLBranches(width, decoder_size=2**doublings if decodes else 0)
    links = pcl.network_links(width, doublings) if decodes else pcl.encoder_links()
    preprocessing = Preprocessing(16 * grid, interpolation="bilinear")
    return Recognised("pcl", architecture, preprocessing, links, missing=() if decodes else ("the decoder",))


def _lafs(arrays: Arrays) -> Recognised | None:
    prefix = _prefix(arrays, "patch_to_embedding.weight")
    if prefix is None:
        return None
    own = _without(arrays, prefix)
    depth = _count(own, r"transformer\.layers\.(\d+)\.")
    found = {
        "width": own["cls_token"].shape[-1],
        "depth": depth,
        "heads": own["transformer.layers.0.0.fn.fn.to_qkv.weight"].shape[0] // (3 * HEAD_WIDTH),
        "mlp_width": len(own["transformer.layers.0.1.fn.fn.net.0.weight"]),
    }
    size = next((name for name, settings in SIZES.items() if settings == found), None)
    if size is None:
        raise ValueError(f"a transformer with {found}; known are {SIZES}")
    landmarks = "output_layer.1.weight" in own
    side = math.isqrt(own["patch_to_embedding.weight"].shape[1] // 3)
    architecture = PartFViT(size, own["pos_embedding"].shape[1] - 1, side, has_landmarks=landmarks)
    links = [
        *(lafs.landmark_links(path="landmark_network/") if landmarks else []),
        *lafs.transformer_links(depth, path="transformer/"),
    ]
    missing = () if landmarks else ("a landmark network (patches lie on a grid; landmark_network= names one)",)
    return Recognised("part_fvit" if landmarks else "lafs", architecture, ALIGNED, links, prefix, missing)


def _farl(arrays: Arrays) -> Recognised | None:
    prefix = _prefix(arrays, "class_embedding")
    if prefix is None:
        return None
    own = _without(arrays, prefix)
    width, _, patch, _ = own["conv1.weight"].shape
    grid = math.isqrt(len(own["positional_embedding"]) - 1)
    depth = _count(own, r"transformer\.resblocks\.(\d+)\.")
    mlp_width = len(own["transformer.resblocks.0.mlp.c_fc.weight"])
    architecture = ViT(patch, grid, width, depth, mlp_width, "clip", own["proj"].shape[1])
    preprocessing = Preprocessing(patch * grid, fit="crop", interpolation="bicubic", **CLIP)
    method = "farl" if f"{prefix}mask_token" in arrays else "clip"
    return Recognised(method, architecture, preprocessing, vit.clip_links(depth), prefix)


def _vit(arrays: Arrays) -> Recognised | None:
    prefix = _prefix(arrays, "patch_embed.proj.weight")
    if prefix is None:
        return None
    own = _without(arrays, prefix)
    if other := [key for key in own if re.search(r"\.(ls1|gamma_1)\b|^(dist|reg)(_)?token|^mask_token", key)]:
        raise ValueError(f"a ViT with {other[0]}, which DeiT's and DINO's have not")
    width, _, patch, _ = own["patch_embed.proj.weight"].shape
    grid = math.isqrt(own["pos_embed"].shape[1] - 1)
    depth = _count(own, r"blocks\.(\d+)\.")
    architecture = ViT(patch, grid, width, depth, len(own["blocks.0.mlp.fc1.weight"]))
    preprocessing = Preprocessing(patch * grid, fit="crop", crop_fraction=0.875, interpolation="bicubic", **IMAGENET)
    return Recognised("vit", architecture, preprocessing, vit.deit_links(depth), prefix)


def _resnet(arrays: Arrays) -> Recognised | None:
    prefix = _prefix(arrays, "layer4.0.conv1.weight")
    if prefix is None or f"{prefix}conv1.weight" not in arrays:
        return None
    own = _without(arrays, prefix)
    variant, width = fra.find_variant(own)
    method, preprocessing = (
        variant,
        Preprocessing(224, fit="crop", crop_fraction=0.875, interpolation="bilinear", **IMAGENET),
    )
    if prefix == "base_net.":
        method, preprocessing = "frl", FRL
    elif "fc.stem.fc.weight" in own:
        method, preprocessing = "fra_attributes", VGGFACE2
    links = fra.resnet_links(variant, "", "backbone/")
    return Recognised(method, PooledResNet(variant, width), preprocessing, links, prefix)


FAMILIES: tuple[Callable[[Arrays], Recognised | None], ...] = (_fra, _lewel, _pcl, _lafs, _farl, _vit, _resnet)
