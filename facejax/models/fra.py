"""The network of FRA: a backbone, global and region embeddings, and the heatmaps that define the regions."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from facejax.models.mask_decoder import MaskDecoder
from facejax.models.mlp import MLP
from facejax.models.precision import wide
from facejax.models.resnet import ResNet


def _unit(x):
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


class FRANetwork(nn.Module):
    """Gao & Patras, CVPR 2024 (arXiv:2403.02138), section 3. Online and target network are the same module.

    The target's variables are the online ones without `predictor` and `region_predictor`. Collections: `params`,
    `batch_stats` and `prototypes`, the moving average of the mask embeddings, moved by every training forward.
    In training the views of an image are neighbours in the batch, and each view has its own batch statistics and mask
    embeddings, as if it went through the network alone and in its turn.

    Attributes:
      backbone: gives a grid [N, h, w, C]; has the same `num_views` and `dtype`.
      embedding_dim: D.
      hidden_dim: hidden width of projectors and predictors.
      num_regions: Q.
      decoder_layers: layers of the mask decoder.
      decoder_heads: its attention heads.
      dropout: its dropout rate; training needs the random stream `dropout` unless it is 0.
      heatmap_temperature: of the softmax over regions.
      prototype_momentum: share of the prototypes that a forward keeps.
      dtype: type of the computation; embeddings and `dots` are float32 at least.
      num_views: V, views of each image in a training batch.
    """

    backbone: ResNet
    embedding_dim: int = 256
    hidden_dim: int = 4096
    num_regions: int = 8
    decoder_layers: int = 2
    decoder_heads: int = 8
    dropout: float = 0.1
    heatmap_temperature: float = 1.0
    prototype_momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    num_views: int = 1

    def setup(self):
        """Declares the submodules and the prototypes."""
        mlp = (self.hidden_dim, self.embedding_dim, self.dtype, self.num_views)
        self.projector, self.pixel_projector, self.region_projector = MLP(*mlp), MLP(*mlp), MLP(*mlp)
        self.predictor, self.region_predictor = MLP(*mlp), MLP(*mlp)
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

    def __call__(self, images, train: bool) -> dict[str, jax.Array]:
        """Embeds normalised images [N, H, W, 3], where N = B * V in training.

        Returns a dict of float32 arrays: `features` [N, C], the pooled grid; `global` [N, D] and `regions` [N, Q, D],
        embeddings, not normalised; `dots` [N, h, w, Q], cosines of pixels and mask embeddings; `heatmaps`
        [N, h, w, Q], their softmax over regions plus 1e-7.
        """
        grid = self.backbone(images, train)
        features = grid.mean((1, 2), dtype=wide(self.dtype))
        mask_embeddings = self._mask_embeddings(grid, train)
        pixels = self.pixel_projector(grid, train).astype(wide(self.dtype))
        pixels = pixels.reshape(-1, len(mask_embeddings), *pixels.shape[1:])
        dots = jnp.einsum("bvhwd,vqd->bvhwq", _unit(pixels), _unit(mask_embeddings), precision=lax.Precision.HIGHEST)
        dots = dots.reshape(-1, *dots.shape[2:])
        heatmaps = jax.nn.softmax(dots / self.heatmap_temperature) + 1e-7
        weights = heatmaps / heatmaps.sum((1, 2), keepdims=True)
        region_features = jnp.einsum("bhwq,bhwc->bqc", weights.astype(self.dtype), grid)
        return {
            "features": features,
            "global": self.projector(features, train).astype(wide(self.dtype)),
            "regions": self.region_projector(region_features, train).astype(wide(self.dtype)),
            "dots": dots,
            "heatmaps": heatmaps,
        }

    def _mask_embeddings(self, grid, train: bool):
        """[V, Q, D]: mean over the batch, through which gradient flows; at inference the prototypes, [1, Q, D]."""
        if not train:
            return self.prototypes.value[None]
        embeddings = self.mask_decoder(grid, train).astype(wide(self.dtype))
        means = embeddings.reshape(-1, self.num_views, *embeddings.shape[1:]).mean(0)
        if not self.is_initializing():
            kept = self.prototype_momentum
            for mean in lax.stop_gradient(means):
                self.prototypes.value = kept * self.prototypes.value + (1 - kept) * mean
        return means

    def predict(self, images, train: bool) -> dict[str, jax.Array]:
        """As `__call__`, with the online network's predictions: `global_prediction` and `region_prediction`."""
        outputs = self(images, train)
        return {
            **outputs,
            "global_prediction": self.predictor(outputs["global"], train).astype(wide(self.dtype)),
            "region_prediction": self.region_predictor(outputs["regions"], train).astype(wide(self.dtype)),
        }

    def encode(self, images):
        """Pooled features [N, C] of normalised images [N, H, W, 3], float32; the rest of the network is not run."""
        return self.backbone(images, False).mean((1, 2), dtype=wide(self.dtype))
