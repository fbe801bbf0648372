"""A vision transformer on a grid of patches: DeiT, DINO, and FaRL's image tower."""

import functools
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8
from pydantic import Field
from pydantic.dataclasses import dataclass

from facejax.architectures import landmark_pictures
from facejax.architectures.architecture import SETTINGS, Architecture, Dtype
from facejax.architectures.part_fvit import class_attention
from facejax.models.vit import HEAD_WIDTH, VARIANTS, VisionTransformer
from facejax.pictures import Caption


@dataclass(frozen=True, config=SETTINGS)
class ViT(Architecture):
    """Kinds `embedding` [N, D], the class token, and `projection` if there is one.

    Attributes (those of `facejax.models.vit.VisionTransformer`).
    """

    captions: ClassVar[Mapping[str, Caption]] = {"attention": landmark_pictures.CAPTIONS["attention"]}

    patch_size: int = 16
    grid: int = 14
    width: Annotated[int, Field(multiple_of=HEAD_WIDTH)] = 768
    depth: int = 12
    mlp_width: int = 3072
    variant: Literal[*VARIANTS] = "deit"
    projection_dim: int = 0
    dtype: Dtype = "float32"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The class token first."""
        return ("embedding", "projection") if self.projection_dim else ("embedding",)

    @functools.cached_property
    def network(self) -> VisionTransformer:
        """The module."""
        return VisionTransformer(
            self.patch_size,
            self.grid,
            self.width,
            self.depth,
            self.mlp_width,
            self.variant,
            self.projection_dim,
            jnp.dtype(self.dtype),
        )

    def init(self, rng, images):
        """Variables `{"params"}`."""
        return self.network.init(rng, images)

    def encode(self, variables, images: Float[ArrayLike, "N S S 3"]) -> dict[str, Float[Array, "N _"]]:
        """The class token, and its projection."""
        return self.network.apply(variables, images)

    def pictures(
        self, variables, images: Float[ArrayLike, "N S S 3"], pixels: UInt8[ArrayLike, "N S S 3"]
    ) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """`attention`: attention of the class token in the last block."""
        _, sown = self.network.apply(variables, images, mutable=["intermediates"])
        blocks = {name: {"attention": tree} for name, tree in sown["intermediates"].items()}
        return {"attention": landmark_pictures.attention_map(pixels, class_attention(blocks))}
