"""The two-layer perceptron of BYOL's projectors and predictors."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.initializers import KAIMING_FAN_OUT


class MLP(nn.Module):
    """Linear, batch norm, ReLU, linear; no biases. All leading axes count as batch.

    Attributes:
      hidden_dim: width of the hidden layer.
      output_dim: width of the result.
      dtype: type of the computation.
      kernel_init: initial values of both layers.
    """

    hidden_dim: int
    output_dim: int
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = KAIMING_FAN_OUT

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*batch C"], train: bool) -> Float[Array, "*batch {self.output_dim}"]:
        """[..., C] -> [..., output_dim]."""

        def linear(width, name):
            return nn.Dense(width, use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype, name=name)

        x = linear(self.hidden_dim, "hidden")(x)
        x = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))
        return linear(self.output_dim, "output")(x)
