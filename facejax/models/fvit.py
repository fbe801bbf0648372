"""Vision transformers for faces: on a regular grid of patches (fViT) or on patches around landmarks (Part fViT)."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models import patches
from facejax.models.attention import attend
from facejax.models.initializers import torch_linear
from facejax.models.landmarks import LandmarkNetwork
from facejax.models.precision import wide

SIZES = {  # base is the published network; small and tiny have DeiT's widths; nano is for laptops
    "nano": {"width": 128, "depth": 2, "heads": 2, "mlp_width": 256},
    "tiny": {"width": 192, "depth": 12, "heads": 3, "mlp_width": 768},
    "small": {"width": 384, "depth": 12, "heads": 6, "mlp_width": 1536},
    "base": {"width": 768, "depth": 12, "heads": 11, "mlp_width": 2048},
}
HEAD_WIDTH = 64


class SelfAttention(nn.Module):
    """Self-attention with heads of 64, with logits scaled by the *width* of the network to the power -1/2."""

    heads: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B N D"], train: bool) -> Float[Array, "B N D"]:
        """[B, N, D] -> [B, N, D]; sows the class token's attention [B, heads, N] if intermediates are requested."""
        batch, count, width = x.shape
        qkv = torch_linear(3 * self.heads * HEAD_WIDTH, width, use_bias=False, dtype=self.dtype, name="qkv")(x)
        query, key, value = jnp.moveaxis(qkv.reshape(batch, count, 3, self.heads, HEAD_WIDTH), 2, 0)
        x, weights = attend(query, key, value, scale=width**-0.5)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "class_attention", weights[:, :, 0])
        x = x.reshape(batch, count, self.heads * HEAD_WIDTH)
        x = torch_linear(width, x.shape[-1], dtype=self.dtype, name="out")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class FeedForward(nn.Module):
    """Linear, exact GELU, linear, each followed by dropout."""

    width: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*batch D"], train: bool) -> Float[Array, "*batch D"]:
        """[..., D] -> [..., D]."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        hidden = torch_linear(self.width, x.shape[-1], dtype=self.dtype, name="hidden")(x)
        hidden = drop(nn.gelu(hidden, approximate=False))
        return drop(torch_linear(x.shape[-1], self.width, dtype=self.dtype, name="output")(hidden))


class Block(nn.Module):
    """Attention and feed-forward, each behind a layer norm and with stochastic depth."""

    heads: int
    mlp_width: int
    dropout: float
    stochastic_depth: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B N D"], train: bool) -> Float[Array, "B N D"]:
        """[B, N, D] -> [B, N, D]."""
        skip = nn.Dropout(self.stochastic_depth, broadcast_dims=(1, 2), deterministic=not train)
        attention = SelfAttention(self.heads, self.dropout, self.dtype, name="attention")
        x = x + skip(attention(_norm(self.dtype, "norm1")(x), train))
        return x + skip(
            FeedForward(self.mlp_width, self.dropout, self.dtype, name="mlp")(_norm(self.dtype, "norm2")(x), train)
        )


def _norm(dtype, name: str):
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name)


class FViT(nn.Module):
    """A transformer on flattened patches as tokens; its embedding is the class token.

    Attributes:
      size: a key of `SIZES`.
      num_positions: learned positions, in addition to that of the class token; the largest number of tokens.
      interpolate: treat fewer tokens than positions as a coarser grid, and interpolate the positions (bicubic);
        otherwise n tokens get the first n positions.
      dropout: rate after the positions, after the attention's output projection and in the MLPs.
      stochastic_depth: rate at which a residual branch is skipped, for each example. Training needs the random stream
        `dropout` unless both rates are 0.
      dtype: type of the computation; the embedding is float32.
    """

    size: str = "base"
    num_positions: int = 196
    interpolate: bool = False
    dropout: float = 0.1
    stochastic_depth: float = 0.1
    dtype: DTypeLike = jnp.float32

    @property
    def width(self) -> int:
        """Length of the embedding."""
        return SIZES[self.size]["width"]

    @nn.compact
    def __call__(
        self, tokens: Float[ArrayLike, "B n C"], train: bool, every: bool = False
    ) -> Float[Array, "B {self.width}"] | Float[Array, "B n {self.width}"]:
        """Tokens [B, n, C] -> embeddings [B, width], or features of `every` token, [B, n, width]; float32."""
        settings, normal = SIZES[self.size], nn.initializers.normal(1.0)
        batch, count, _ = tokens.shape
        positions = self.param("positions", normal, (1, self.num_positions + 1, self.width))
        class_token = self.param("class_token", normal, (1, 1, self.width))
        embed = torch_linear(self.width, tokens.shape[-1], dtype=self.dtype, name="patch_embedding")
        x = embed(tokens.astype(self.dtype))
        x = jnp.concatenate([jnp.broadcast_to(class_token, (batch, 1, self.width)).astype(self.dtype), x], 1)
        x = x + self._positions_of(positions, count).astype(self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for index in range(settings["depth"]):
            x = Block(
                settings["heads"],
                settings["mlp_width"],
                self.dropout,
                self.stochastic_depth,
                self.dtype,
                name=f"block{index}",
            )(x, train)
        return _norm(wide(self.dtype), "norm")(x[:, 1:] if every else x[:, 0])

    def _positions_of(self, positions, count: int):
        if not self.interpolate or count == self.num_positions:
            return positions[:, : count + 1]
        old, new = math.isqrt(self.num_positions), math.isqrt(count)
        grid = positions[:, 1:].reshape(1, old, old, self.width)
        grid = jax.image.resize(grid, (1, new, new, self.width), "bicubic", antialias=False)
        return jnp.concatenate([positions[:, :1], grid.reshape(1, count, self.width)], 1)


class FaceTransformer(nn.Module):
    """fViT or, with a landmark network, Part fViT: from images to embeddings.

    Sun & Tzimiropoulos, "Part-based face recognition with vision transformers", BMVC 2022, arXiv:2212.00057.

    Attributes:
      transformer: applied to the patches.
      landmark_network: gives the positions of the patches; None: a regular grid.
      patch_size: side of a patch, pixels.
      geometry: of the patches around landmarks, a key of `facejax.models.patches.GEOMETRIES`.
    """

    transformer: FViT
    landmark_network: LandmarkNetwork | None = None
    patch_size: int = 8
    geometry: str = "official"

    def __call__(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> Float[Array, "B {self.transformer.width}"]:
        """Normalised images [B, S, S, 3] -> embeddings [B, width], float32."""
        return self.transformer(self.tokens(images, train), train)

    def grid(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> Float[Array, "B side side D"]:
        """Normalised images -> features of the patches, float32, side = S / patch_size; only for a regular grid."""
        features = self.transformer(self.tokens(images, train), train, every=True)
        side = images.shape[1] // self.patch_size
        return features.reshape(len(images), side, side, -1)

    def tokens(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> Float[Array, "B P C"]:
        """The patches that the transformer sees: [B, P, patch_size^2 3]."""
        if self.landmark_network is None:
            return patches.grid_patches(images, size=self.patch_size)
        points = self.points(images, train)
        return patches.sample_patches(images, points, size=self.patch_size, geometry=self.geometry)

    def points(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> Float[Array, "B P 2"]:
        """The landmarks [B, P, 2] of normalised images, (x, y) in pixels."""
        return self.landmark_network(images, train)
