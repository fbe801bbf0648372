"""LEWEL-B's network after training: features of the whole face, and heatmaps."""

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8
from pydantic.dataclasses import dataclass

from facejax.architectures.architecture import SETTINGS
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.models.lewel import MASKS, LEWELNetwork
from facejax.pictures import Caption, overlay_regions


@dataclass(frozen=True, config=SETTINGS)
class LEWELRegions(PooledResNet):
    """Kind `pooled` [N, C], of the backbone; `network` also returns projections.

    Attributes (besides those of `PooledResNet`; see `facejax.models.lewel.LEWELNetwork`):
      embedding_dim: D of the projections.
      hidden_dim: of the projectors.
      mask: the source of the heatmaps.
      num_regions: Q of the mask `attn`.
      num_heads: of the mask decoder, or of the projection.
      heatmap_temperature: of the softmax over the regions of `attn`.
    """

    captions: ClassVar[Mapping[str, Caption]] = {"heatmaps": Caption("regions, more opaque where more certain")}

    embedding_dim: int = 256
    hidden_dim: int = 4096
    mask: Literal[*MASKS] = "attn"
    num_regions: int = 8
    num_heads: int = 8
    heatmap_temperature: float = 0.04

    @functools.cached_property
    def network(self) -> LEWELNetwork:
        """The module, without the predictors."""
        return LEWELNetwork(
            self.resnet,
            self.embedding_dim,
            self.hidden_dim,
            jnp.dtype(self.dtype),
            mask=self.mask,
            num_regions=self.num_regions,
            num_heads=self.num_heads,
            heatmap_temperature=self.heatmap_temperature,
        )

    def init(self, rng, images):
        """Variables `{"params", "batch_stats"}`."""
        return self.network.init(rng, images, False)

    def heatmaps(self, variables, images: Float[ArrayLike, "N S S 3"]) -> Float[Array, "N h w Q"]:
        """[N, h, w, Q]: with `attn` they sum to 1 over Q, otherwise each over the cells, one head after the other."""
        heatmaps = self.network.apply(variables, images, False)["heatmaps"]
        return heatmaps.reshape(*heatmaps.shape[:3], -1)

    def pictures(
        self, variables, images: Float[ArrayLike, "N S S 3"], pixels: UInt8[ArrayLike, "N S S 3"]
    ) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """The regions over the images, uint8 [N, S, S, 3], one colour per region."""
        return {"heatmaps": overlay_regions(pixels, jnp.moveaxis(self.heatmaps(variables, images), -1, 1))}
