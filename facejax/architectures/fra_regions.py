"""FRA's network after training: features of the whole face, and heatmaps of its regions."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8
from pydantic.dataclasses import dataclass

from facejax.architectures.architecture import SETTINGS
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.models.fra import FRANetwork
from facejax.pictures import Caption, overlay_regions, region_colors


@dataclass(frozen=True, config=SETTINGS)
class FRARegions(PooledResNet):
    """Kind `pooled` [N, C], of the backbone; `network` also returns projections.

    Attributes (besides those of `PooledResNet`):
      embedding_dim: D of the projections.
      hidden_dim: of the projectors.
      num_regions: Q.
      heatmap_temperature: of the softmax over regions.
      picture_temperature: of the softmax in `pictures`: the student's in training.
    """

    embedding_dim: int = 256
    hidden_dim: int = 4096
    num_regions: int = 8
    heatmap_temperature: float = 1.0
    picture_temperature: float = 0.1

    @functools.cached_property
    def network(self) -> FRANetwork:
        """The module, without the predictors and the mask decoder that only training needs."""
        return FRANetwork(
            self.resnet,
            self.embedding_dim,
            self.hidden_dim,
            jnp.dtype(self.dtype),
            num_regions=self.num_regions,
            heatmap_temperature=self.heatmap_temperature,
        )

    @property
    def captions(self) -> dict[str, Caption]:
        """Explanations of `pictures`."""
        colors = region_colors(self.num_regions)
        legend = tuple((f"region {index}", tuple(color)) for index, color in enumerate(colors.tolist()))
        return {
            "heatmaps": Caption("regions, more opaque where the encoder is more certain", legend=legend),
            "segmentation": Caption("the most probable region, whatever its probability", legend=legend),
        }

    def init(self, rng, images):
        """Variables `{"params", "batch_stats", "prototypes"}`."""
        return self.network.init(rng, images, False)

    def heatmaps(self, variables, images: Float[ArrayLike, "N S S 3"]) -> Float[Array, "N h w {self.num_regions}"]:
        """How much of each cell belongs to each region: [N, h, w, Q], which sum to 1 (and Q times 1e-7) over Q."""
        return self.network.apply(variables, images, False)["heatmaps"]

    def pictures(
        self, variables, images: Float[ArrayLike, "N S S 3"], pixels: UInt8[ArrayLike, "N S S 3"]
    ) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """The regions over the images, uint8 [N, S, S, 3], one colour per region.

        `heatmaps` shows the most probable region, more opaque where its probability is higher; `segmentation` always
        opaque. Images do not depend on each other: prototypes replace the batch's mask embeddings.
        """
        dots = self.network.apply(variables, images, False)["dots"]
        dots = jax.image.resize(dots, (*images.shape[:3], dots.shape[-1]), "bicubic")
        soft = jax.nn.softmax(dots / self.picture_temperature)
        hard = jax.nn.one_hot(dots.argmax(-1), dots.shape[-1])
        return {
            "heatmaps": overlay_regions(pixels, jnp.moveaxis(soft, -1, 1)),
            "segmentation": overlay_regions(pixels, jnp.moveaxis(hard, -1, 1)),
        }
