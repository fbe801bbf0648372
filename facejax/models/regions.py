"""What FRA and LEWEL share: a backbone with global and region embeddings, and regions as heatmaps over its grid."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from facejax.models.initializers import KAIMING_FAN_OUT
from facejax.models.mlp import MLP
from facejax.models.precision import wide
from facejax.models.resnet import ResNet
from facejax.models.vectors import unit


def cosines(pixels, mask_embeddings):
    """Cosine of every pixel embedding [..., h, w, D] with every mask embedding [..., Q, D]: [..., h, w, Q]."""
    return jnp.einsum("...hwd,...qd->...hwq", unit(pixels), unit(mask_embeddings), precision=lax.Precision.HIGHEST)


def soft_regions(dots, temperature: float):
    """Heatmaps [..., Q]: how much of a cell belongs to each region, and 1e-7, so that no region is empty."""
    return jax.nn.softmax(dots / temperature) + 1e-7


def pool(grid, heatmaps):
    """The grid [N, h, w, C] averaged with each heatmap [N, h, w, Q] as weights: [N, Q, C]."""
    weights = heatmaps / heatmaps.sum((1, 2), keepdims=True)
    return jnp.einsum("bhwq,bhwc->bqc", weights.astype(grid.dtype), grid)


class RegionNetwork(nn.Module):
    """A network that embeds a face as a whole and region by region, with a predictor for either.

    Online and target network are the same module; the target's variables are the online ones without `predictor` and
    `region_predictor`. A subclass says in `__call__` what the regions are: it returns a dict with `global` [N, D] and
    `regions` [N, Q, D].

    Attributes:
      backbone: gives a grid [N, h, w, C]; has the same `num_views` and `dtype`.
      embedding_dim: D.
      hidden_dim: hidden width of projectors and predictors.
      dtype: type of the computation; embeddings are float32 at least.
      num_views: V, views of each image in a training batch, see `BatchNorm`.
      mlp_init: initial kernels of projectors and predictors.
    """

    backbone: ResNet
    embedding_dim: int = 256
    hidden_dim: int = 4096
    dtype: jnp.dtype = jnp.float32
    num_views: int = 1
    mlp_init: nn.initializers.Initializer = KAIMING_FAN_OUT

    def setup(self):
        """Declares projectors and predictors."""
        self.projector, self.region_projector = self.mlp(), self.mlp()
        self.predictor, self.region_predictor = self.mlp(), self.mlp()

    def mlp(self) -> MLP:
        """One more projector."""
        return MLP(self.hidden_dim, self.embedding_dim, self.dtype, self.num_views, self.mlp_init)

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
