"""Safetensors with the names of torchvision or of the official code, for PyTorch; facejax reads them too."""

import numpy as np
import safetensors.numpy

from facejax import encoder_folder
from facejax.architectures import PooledResNet
from facejax.encoder import Encoder
from facejax.interop import encoder_keys

FILE = encoder_folder.WEIGHTS
TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101")
REPOSITORIES = {
    "PCL": "the encoder of github.com/DreamMr/PCL",
    "Part fViT": "the network of github.com/szlbiubiubiu/Part_fViT",
    "ViT": "a ViT as timm, DeiT and DINO have it; of FaRL, of CLIP",
}


def check() -> None:
    """Nothing is needed that could be missing."""


def convert(encoder: Encoder) -> bytes:
    """The weights, float32.

    Raises:
      UserError: nobody else has a network like this.
    """
    arrays = encoder_keys.to_torch(encoder.architecture, encoder.preprocessing.size, encoder.variables)
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def usage(encoder: Encoder) -> str:
    """How the file is used, Markdown."""
    here = 'import facejax\n\nencoder = facejax.load(".")\nfeatures = encoder.embed(["one.jpg", "another.jpg"])'
    return f"In facejax:\n\n```python\n{here}\n```\n\n{_in_pytorch(encoder)}"


def _in_pytorch(encoder: Encoder) -> str:
    architecture = encoder.architecture
    if not isinstance(architecture, PooledResNet):
        names = encoder_keys.naming(architecture)
        return f"In PyTorch the names are those of {REPOSITORIES[names]}: its `load_state_dict` takes `{FILE}`."
    standard = architecture.backbone in TORCHVISION and architecture.width == 64
    if not standard:
        return (
            f"In PyTorch the names are torchvision's, the widths are not: {architecture.backbone} of width "
            f"{architecture.width}, {architecture.output_stride} px a cell of the last grid."
        )
    lines = [
        "import torch, torchvision",
        "from safetensors.torch import load_file",
        "",
        f"network = torchvision.models.{architecture.backbone}()",
        "network.fc = torch.nn.Identity()",
        f'network.load_state_dict(load_file("{FILE}"))',
        *(f"network.{key}.stride = 1" for key in _not_strided(architecture)),
        "network.eval()",
    ]
    return "In PyTorch:\n\n```python\n" + "\n".join(lines) + "\n```\n\nIt takes images as `facejax.json` says."


def _not_strided(architecture: PooledResNet) -> list[str]:
    """The convolutions that stride in torchvision's network, and do not here."""
    convolution = "conv1" if architecture.backbone in ("resnet18", "resnet34") else "conv2"
    stages = [stage for stage in (2, 3, 4) if 4 * 2 ** (stage - 1) > architecture.output_stride]
    return [f"layer{stage}[0].{part}" for stage in stages for part in (convolution, "downsample[0]")]
