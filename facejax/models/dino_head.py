"""The head whose outputs DINO's teacher and student compare."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.initializers import uniform_fan_in
from facejax.models.vectors import unit

NORMAL = nn.initializers.normal(0.02)  # officially truncated at +-2, a hundred deviations away


class DINOHead(nn.Module):
    """Three linear layers with GELU between, L2 norm, and a linear layer with rows of norm 1 (arXiv:2104.14294).

    The last layer's rows are normalised whenever they are used (weight normalisation with its scale fixed at 1). They
    have PyTorch's default initialisation, with norm 0.58, as in the official code, which creates this layer after the
    loop that initialises the others. AdamW's steps are absolute, so the norm decides how fast the rows turn.

    Attributes:
      num_outputs: K.
      hidden_dim: width of the two hidden layers.
      bottleneck_dim: width of the L2-normalised vector.
      dtype: type of the computation, and of the logits, which are the largest array of a step.
    """

    num_outputs: int = 100_000
    hidden_dim: int = 2048
    bottleneck_dim: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*batch D"]) -> Float[Array, "*batch {self.num_outputs}"]:
        """[B, D] -> logits [B, K]."""
        for index, width in enumerate((self.hidden_dim, self.hidden_dim, self.bottleneck_dim)):
            x = nn.gelu(x, approximate=False) if index else x
            x = nn.Dense(width, kernel_init=NORMAL, dtype=self.dtype, name=f"layer{index}")(x)
        rows = self.param("last_layer", uniform_fan_in(self.bottleneck_dim), (self.num_outputs, self.bottleneck_dim))
        return unit(x) @ unit(rows).astype(self.dtype).T
