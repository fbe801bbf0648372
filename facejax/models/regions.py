"""Parts shared by FRA and LEWEL: a backbone with global and region embeddings, and regions as heatmaps on its grid."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from facejax.models.byol import BYOLNetwork
from facejax.models.precision import wide
from facejax.models.vectors import unit


def cosines(
    pixels: Float[ArrayLike, "*batch h w D"], mask_embeddings: Float[ArrayLike, "... Q D"]
) -> Float[Array, "*batch h w Q"]:
    """Cosine of every pixel embedding [..., h, w, D] with every mask embedding [..., Q, D]: [..., h, w, Q]."""
    return jnp.einsum("...hwd,...qd->...hwq", unit(pixels), unit(mask_embeddings), precision=lax.Precision.HIGHEST)


def soft_regions(dots: Float[ArrayLike, "*cells Q"], temperature: float) -> Float[Array, "*cells Q"]:
    """Heatmaps [..., Q]: how much of a cell belongs to each region, plus 1e-7 so that no region is empty."""
    return jax.nn.softmax(dots / temperature) + 1e-7


def pool(grid: Float[ArrayLike, "N h w C"], heatmaps: Float[ArrayLike, "N h w Q"]) -> Float[Array, "N Q C"]:
    """The grid [N, h, w, C] averaged with each heatmap [N, h, w, Q] as weights: [N, Q, C]."""
    weights = heatmaps / heatmaps.sum((1, 2), keepdims=True)
    return jnp.einsum("bhwq,bhwc->bqc", weights.astype(grid.dtype), grid)


class RegionNetwork(BYOLNetwork):
    """BYOL's network, extended by embeddings of face regions and their own predictor.

    The target's variables are the online ones without `predictor` and `region_predictor`. A subclass
    defines the regions in `__call__`, which returns a dict with `global` [N, D] and `regions` [N, Q, D].
    """

    def setup(self):
        """Declares projectors and predictors."""
        super().setup()
        self.region_projector, self.region_predictor = self.mlp(), self.mlp()

    def predict(self, images: Float[ArrayLike, "N H W C"], train: bool) -> dict[str, Float[Array, "N ..."]]:
        """Like `__call__`, with the online network's predictions: `global_prediction` and `region_prediction`."""
        outputs = super().predict(images, train)
        region_prediction = self.region_predictor(outputs["regions"], train).astype(wide(self.dtype))
        return {**outputs, "region_prediction": region_prediction}
