"""Batch normalisation with PyTorch's semantics."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax


class BatchNorm(nn.Module):
    """Normalises over all axes but the last; keeps the *unbiased* running variance, as `torch.nn.BatchNorm` does.

    Statistics are float32 and, under `jax.jit`, those of the global batch whatever its sharding.

    Attributes:
      momentum: share of the old running average that stays (0.9 is PyTorch's 0.1).
      epsilon: added to the variance.
      dtype: type of the result.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool):
        """Normalises x [..., C] with the statistics of the batch (`train`) or the running ones."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))

        # Shifted by the running mean, mean and variance come from one pass over x without cancellation.
        shift = running_mean.value
        x = x.astype(jnp.float32) - shift
        if train:
            axes = tuple(range(x.ndim - 1))
            count = x.size // channels
            mean = x.mean(axes)
            var = jnp.maximum(jnp.square(x).mean(axes) - jnp.square(mean), 0)
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = shift + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        else:
            mean, var = jnp.zeros_like(shift), running_var.value
        gain = scale * lax.rsqrt(var + self.epsilon)
        return (x * gain + (bias - mean * gain)).astype(self.dtype)
