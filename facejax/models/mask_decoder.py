"""Mask embeddings: learned queries that attend to the feature grid (MaskFormer's decoder, arXiv:2107.06278)."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.attention import attend
from facejax.models.initializers import KAIMING_UNIFORM, XAVIER_UNIFORM, torch_linear, uniform_fan_in


def sine_position_encoding(height: int, width: int, dim: int, temperature: float = 10000.0) -> np.ndarray:
    """Position encoding of a grid (DETR, arXiv:2005.12872), float32 [height, width, dim].

    The first half of the channels encodes y, the second x; cell k of n (counted from 1) has the angle
    2 pi k / (n + 1e-6) / temperature^(2 floor(i/2) / (dim/2)), with sin for even and cos for odd i.
    """
    half = np.arange(dim // 2)

    def encode(size):
        angle = 2 * np.pi * np.arange(1, size + 1) / (size + 1e-6)
        angle = angle[:, None] / temperature ** (2 * (half // 2) / (dim // 2))
        return np.where(half % 2 == 0, np.sin(angle), np.cos(angle))

    y = np.broadcast_to(encode(height)[:, None], (height, width, dim // 2))
    x = np.broadcast_to(encode(width)[None], (height, width, dim // 2))
    return np.concatenate([y, x], -1).astype(np.float32)


class MultiHeadAttention(nn.Module):
    """Multi-head attention with the q, k and v kernels in one parameter, so that LARS scales them by one norm."""

    num_heads: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        query: Float[ArrayLike, "B Q D"],
        key: Float[ArrayLike, "B K D"],
        value: Float[ArrayLike, "B K D"],
        train: bool,
    ) -> Float[Array, "B Q D"]:
        """[B, Q, D], [B, K, D], [B, K, D] -> [B, Q, D]."""
        dim = query.shape[-1]
        # Xavier uniform for the stacked [D, 3 D] matrix, hence half the usual variance.
        init = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform", in_axis=-2, out_axis=-1, batch_axis=0)
        kernel = self.param("in_proj_kernel", init, (3, dim, dim)).astype(self.dtype)
        bias = self.param("in_proj_bias", nn.initializers.zeros, (3, dim)).astype(self.dtype)

        def heads(index, x):
            x = x.astype(self.dtype) @ kernel[index] + bias[index]
            return x.reshape(*x.shape[:-1], self.num_heads, dim // self.num_heads)

        query, key, value = heads(0, query), heads(1, key), heads(2, value)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x, _ = attend(query, key, value, scale=(dim // self.num_heads) ** -0.5, drop=drop)
        x = x.reshape(*x.shape[:-2], dim)
        return nn.Dense(dim, kernel_init=XAVIER_UNIFORM, dtype=self.dtype, name="out_proj")(x)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each followed by a layer norm."""

    num_heads: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[ArrayLike, "B Q D"],
        queries: Float[ArrayLike, "Q D"],
        memory: Float[ArrayLike, "B K D"],
        position: Float[ArrayLike, "K D"],
        train: bool,
    ) -> Float[Array, "B Q D"]:
        """x [B, Q, D], queries [Q, D], memory [B, K, D], position [K, D] -> [B, Q, D]."""
        dim = x.shape[-1]
        drop = nn.Dropout(self.dropout, deterministic=not train)

        def attention(name):
            return MultiHeadAttention(self.num_heads, self.dropout, self.dtype, name=name)

        def dense(name):  # of PyTorch's default only the biases survive DETR's initialisation
            return nn.Dense(dim, kernel_init=XAVIER_UNIFORM, bias_init=uniform_fan_in(dim), dtype=self.dtype, name=name)

        def norm(name):
            return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name)

        attended = attention("self_attention")(x + queries, x + queries, x, train)
        x = norm("norm1")(x + drop(attended))
        attended = attention("cross_attention")(x + queries, memory + position, memory, train)
        x = norm("norm2")(x + drop(attended))
        hidden = drop(nn.relu(dense("linear1")(x)))
        return norm("norm3")(x + drop(dense("linear2")(hidden)))


class MaskDecoder(nn.Module):
    """Turns a feature grid into one embedding for each of Q regions.

    Attributes:
      num_regions: Q.
      dim: D, width of the decoder and of the embeddings; a multiple of 4 and of `num_heads`.
      num_layers: decoder layers.
      num_heads: attention heads.
      dropout: rate in attention weights, residual branches and feed-forward.
      dtype: type of the computation.
      input_projection: whether a linear layer comes first; without it the grid must have D channels.
    """

    num_regions: int
    dim: int
    num_layers: int = 2
    num_heads: int = 8
    dropout: float = 0.1
    dtype: DTypeLike = jnp.float32
    input_projection: bool = True

    @nn.compact
    def __call__(
        self, grid: Float[ArrayLike, "B h w C"], train: bool
    ) -> Float[Array, "B {self.num_regions} {self.dim}"]:
        """Grid [B, h, w, C] -> mask embeddings [B, Q, D], not normalised."""
        batch, height, width, _ = grid.shape
        if self.input_projection:
            grid = nn.Dense(self.dim, kernel_init=KAIMING_UNIFORM, dtype=self.dtype, name="input_proj")(grid)
        memory = grid.reshape(batch, height * width, self.dim)
        position = sine_position_encoding(height, width, self.dim).reshape(height * width, self.dim)
        position = jnp.asarray(position, self.dtype)
        queries = self.param("queries", nn.initializers.normal(1.0), (self.num_regions, self.dim)).astype(self.dtype)
        x = jnp.zeros((batch, self.num_regions, self.dim), self.dtype)
        for index in range(self.num_layers):
            layer = DecoderLayer(self.num_heads, self.dropout, self.dtype, name=f"layer{index}")
            x = layer(x, queries, memory, position, train)
        x = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name="norm")(x)
        for index in range(3):
            x = torch_linear(self.dim, self.dim, dtype=self.dtype, name=f"mask_embed{index}")(x)
            x = nn.relu(x) if index < 2 else x
        return x
