"""Batch normalisation with PyTorch's semantics."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.precision import wide


class BatchNorm(nn.Module):
    """Normalises over all axes except the last, with the *unbiased* running variance, like `torch.nn.BatchNorm`.

    Statistics are float32 at least and, under `jax.jit`, those of the global batch whatever its sharding.

    Attributes:
      momentum: weight of the old running average (0.9 is PyTorch's 0.1).
      epsilon: added to the variance.
      scale_init: initial factors of the channels.
      dtype: type of the result.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "N *grid C"], train: bool, num_views: int = 1) -> Float[Array, "N *grid C"]:
        """Normalises x [N, ..., C] with its statistics (`train`), or with running ones.

        In training, row i of several views in one batch belongs to view i mod `num_views` and gets its statistics; see
        `facejax.models.joint_views`.
        """
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))

        x = x.astype(wide(self.dtype))
        if not train:
            gain = scale * lax.rsqrt(running_var.value + self.epsilon)
            return ((x - running_mean.value) * gain + bias).astype(self.dtype)

        # Relative to the mean of the first image, mean and variance take one pass over x without cancellation.
        shifted = x.reshape(-1, num_views, x.size // len(x) // channels, channels)
        origin = lax.stop_gradient(shifted[:1].mean(2, keepdims=True))
        shifted -= origin
        mean = shifted.mean((0, 2), keepdims=True)
        var = jnp.maximum(jnp.square(shifted).mean((0, 2), keepdims=True) - jnp.square(mean), 0)
        gain = scale * lax.rsqrt(var + self.epsilon)
        if not self.is_initializing():
            count = x.size // channels // num_views
            unbiased = var * (count / max(count - 1, 1))
            for view in range(num_views):  # one after the other, as after one forward pass for each
                for running, values in ((running_mean, origin + mean), (running_var, unbiased)):
                    running.value = self.momentum * running.value + (1 - self.momentum) * values[0, view, 0]
        return (shifted * gain + (bias - mean * gain)).reshape(x.shape).astype(self.dtype)
