"""The network of LEWEL-B, a baseline of FRA: the regions of an image come from the projection of its own grid."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.models.mask_decoder import MaskDecoder
from facejax.models.precision import wide
from facejax.models.regions import RegionNetwork, cosines, pool, soft_regions
from facejax.models.vectors import unit

MASKS = ("attn", "group", "max")


class LEWELNetwork(RegionNetwork):
    """Huang et al., CVPR 2022 (arXiv:2203.14898), and its variant with mask embeddings, the baseline of FRA's paper.

    One projector serves the pooled feature and the cells of the grid, and its batch norm sees them together. The
    regions are computed from the projected cells: for `attn` from their cosines with the image's own mask embeddings;
    for `group` and `max` from the D channels themselves, split into `num_heads` heads of R = D / `num_heads` maps each.
    Online and target network are the same module, see `RegionNetwork`; collections: `params` and `batch_stats`.

    Attributes (besides those of `BYOLNetwork`):
      mask: one of `MASKS`.
      num_regions: Q of `attn`; the others have R regions.
      num_heads: attention heads of the mask decoder (`attn`), or heads of the projection (`group`, `max`).
      dropout: of the mask decoder; training with `attn` needs the random stream `dropout` unless it is 0.
      heatmap_temperature: of the softmax over the regions of `attn`.

    Raises:
      ValueError: the mask is unknown, or the heads do not divide the embedding.
    """

    mask: str = "attn"
    num_regions: int = 8
    num_heads: int = 8
    dropout: float = 0.1
    heatmap_temperature: float = 0.04

    def setup(self):
        """Declares the submodules."""
        if self.mask not in MASKS:
            raise ValueError(f"mask: {self.mask!r} is none of {', '.join(MASKS)}")
        if self.embedding_dim % self.num_heads:
            raise ValueError(f"num_heads: {self.num_heads} heads do not divide an embedding of {self.embedding_dim}")
        super().setup()
        if self.mask == "attn":
            self.mask_decoder = MaskDecoder(
                self.num_regions,
                self.embedding_dim,
                num_layers=1,
                num_heads=self.num_heads,
                dropout=self.dropout,
                dtype=self.dtype,
                input_projection=False,
            )

    def __call__(self, images: Float[ArrayLike, "N H W C"], train: bool) -> dict[str, Float[Array, "N ..."]]:
        """Embeds normalised images [N, H, W, 3].

        Returns a dict of float32 arrays: `features` [N, C], the pooled grid; `global` [N, D] and `regions` [N, Q, D]
        or [N, R, D], embeddings, not normalised; `heatmaps`. For `attn` these are [N, h, w, Q], softmax over regions
        plus 1e-7, and there are `mask_embeddings` [N, Q, D] and `dots` [N, h, w, Q], their cosines with the projected
        cells. For `group` they are [N, h, w, num_heads, R], softmax over the cells, for `max` [N, h, w, 1, R].
        """
        grid = self.backbone(images, train)
        features = grid.mean((1, 2), dtype=wide(self.dtype))
        cells = grid.reshape(len(grid), -1, grid.shape[-1])
        vectors = jnp.concatenate([features[:, None].astype(cells.dtype), cells], 1)
        embedding, pixels = jnp.split(self.projector(vectors, train), [1], axis=1)
        pixels = pixels.reshape(*grid.shape[:3], -1)
        if self.mask == "attn":
            region_features, found = self._regions_of_embeddings(grid, pixels, train)
        else:
            region_features, found = self._regions_of_channels(grid, pixels)
        return {
            "features": features,
            "global": embedding[:, 0].astype(wide(self.dtype)),
            "regions": self.region_projector(region_features, train).astype(wide(self.dtype)),
            **found,
        }

    def _regions_of_embeddings(self, grid, pixels, train: bool):
        """Region features [N, Q, C], and the arrays they are computed from."""
        mask_embeddings = self.mask_decoder(pixels, train).astype(wide(self.dtype))
        dots = cosines(pixels.astype(wide(self.dtype)), mask_embeddings)
        heatmaps = soft_regions(dots, self.heatmap_temperature)
        return pool(grid, heatmaps), {"mask_embeddings": mask_embeddings, "dots": dots, "heatmaps": heatmaps}

    def _regions_of_channels(self, grid, pixels):
        """Region features [N, R, C]: map r of head k weights the k-th part of the grid's channels, or all of them."""
        logits = unit(pixels.astype(wide(self.dtype))).reshape(*grid.shape[:3], self.num_heads, -1)
        if self.mask == "max":
            logits = logits.max(3, keepdims=True)
        heatmaps = jax.nn.softmax(logits, axis=(1, 2))
        parts = grid.reshape(*grid.shape[:3], heatmaps.shape[3], -1)
        region_features = jnp.einsum("bhwkr,bhwkc->brkc", heatmaps.astype(grid.dtype), parts)
        return region_features.reshape(*region_features.shape[:2], -1), {"heatmaps": heatmaps}
