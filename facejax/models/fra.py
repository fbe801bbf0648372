"""The network of FRA: a backbone, global and region embeddings, and the heatmaps that define the regions."""

import jax
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from facejax.models.mask_decoder import MaskDecoder
from facejax.models.precision import wide
from facejax.models.regions import RegionNetwork, cosines, pool, soft_regions


class FRANetwork(RegionNetwork):
    """Gao & Patras, CVPR 2024 (arXiv:2403.02138), section 3. Online and target network are the same module.

    The target's variables are the online ones without `predictor` and `region_predictor`. Collections: `params`,
    `batch_stats` and `prototypes`, the moving average of the mask embeddings, updated by every training forward.

    Attributes (besides those of `BYOLNetwork`):
      num_regions: Q.
      decoder_layers: layers of the mask decoder.
      decoder_heads: its attention heads.
      dropout: its dropout rate; training needs the random stream `dropout` unless it is 0.
      heatmap_temperature: temperature of the softmax over regions.
      prototype_momentum: weight of the old prototypes in a forward's update.
    """

    num_regions: int = 8
    decoder_layers: int = 2
    decoder_heads: int = 8
    dropout: float = 0.1
    heatmap_temperature: float = 1.0
    prototype_momentum: float = 0.9

    def setup(self):
        """Declares the submodules and the prototypes."""
        super().setup()
        self.pixel_projector = self.mlp()
        self.mask_decoder = MaskDecoder(
            self.num_regions,
            self.embedding_dim,
            self.decoder_layers,
            self.decoder_heads,
            self.dropout,
            self.dtype,
        )
        self.prototypes = self.variable(
            "prototypes",
            "mask_embeddings",
            lambda: jax.random.normal(self.make_rng("params"), (self.num_regions, self.embedding_dim)),
        )

    def __call__(self, images: Float[ArrayLike, "N H W C"], train: bool) -> dict[str, Float[Array, "N ..."]]:
        """Embeds normalised images [N, H, W, 3].

        Returns a dict of float32 arrays: `features` [N, C], the pooled grid; `global` [N, D] and `regions` [N, Q, D],
        embeddings, not normalised; `dots` [N, h, w, Q], cosines of pixels and mask embeddings; `heatmaps`
        [N, h, w, Q], their softmax over regions plus 1e-7.
        """
        grid = self.backbone(images, train)
        features = grid.mean((1, 2), dtype=wide(self.dtype))
        mask_embeddings = self.mask_embeddings(grid, train)
        pixels = self.pixel_projector(grid, train).astype(wide(self.dtype))
        dots = cosines(pixels.reshape(-1, len(mask_embeddings), *pixels.shape[1:]), mask_embeddings)
        dots = dots.reshape(-1, *dots.shape[2:])
        heatmaps = soft_regions(dots, self.heatmap_temperature)
        return {
            "features": features,
            "global": self.projector(features, train).astype(wide(self.dtype)),
            "regions": self.region_projector(pool(grid, heatmaps), train).astype(wide(self.dtype)),
            "dots": dots,
            "heatmaps": heatmaps,
        }

    def mask_embeddings(self, grid, train: bool, num_views: int = 1):
        """Mean over the batch, through which gradient flows; at inference the prototypes: [1, Q, D].

        [V, Q, D] for several views in one batch, see `facejax.models.joint_views`.
        """
        if not train:
            return self.prototypes.value[None]
        embeddings = self.mask_decoder(grid, train).astype(wide(self.dtype))
        means = embeddings.reshape(-1, num_views, *embeddings.shape[1:]).mean(0)
        if not self.is_initializing():
            kept = self.prototype_momentum
            for mean in lax.stop_gradient(means):
                self.prototypes.value = kept * self.prototypes.value + (1 - kept) * mean
        return means
