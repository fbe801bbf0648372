"""A ResNet with its last grid averaged: BYOL's backbone, and torchvision's networks without their classifier."""

import functools
from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from pydantic.dataclasses import dataclass

from facejax.architectures.architecture import SETTINGS, Architecture, Dtype
from facejax.models.precision import wide
from facejax.models.resnet import OUTPUT_STRIDES, VARIANTS, ResNet


@dataclass(frozen=True, config=SETTINGS)
class PooledResNet(Architecture):
    """Kind `pooled` [N, C].

    Attributes:
      backbone: a key of `facejax.models.resnet.VARIANTS`.
      width: channels of the stem.
      output_stride: pixels per cell of the last grid.
      dtype: of the computation.
    """

    kinds: ClassVar[tuple[str, ...]] = ("pooled",)

    backbone: Literal[*VARIANTS] = "resnet50"
    width: int = 64
    output_stride: Literal[*OUTPUT_STRIDES] = 32
    dtype: Dtype = "float32"

    @functools.cached_property
    def resnet(self) -> ResNet:
        """The module; its variables are those of `backbone`."""
        return ResNet(self.backbone, self.width, self.output_stride, jnp.dtype(self.dtype))

    @property
    def trunk(self) -> ResNet:
        """What a head can be put on."""
        return self.resnet

    @property
    def stride(self) -> int:
        """Pixels a cell of the trunk's grid."""
        return self.output_stride

    def init(self, rng, images):
        """Variables `{"params": {"backbone"}, "batch_stats": {"backbone"}}`."""
        return {name: {"backbone": tree} for name, tree in self.resnet.init(rng, images, False).items()}

    def encode(self, variables, images: Float[ArrayLike, "N S S 3"]) -> dict[str, Float[Array, "N _"]]:
        """The mean of the last grid."""
        backbone = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
        return {"pooled": self.resnet.apply(backbone, images, False).mean((1, 2), dtype=wide(self.resnet.dtype))}
