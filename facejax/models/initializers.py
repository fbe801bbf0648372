"""Initial values of the official PyTorch networks, under PyTorch's names."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

XAVIER_UNIFORM = nn.initializers.xavier_uniform()
KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # kaiming_normal_(mode="fan_out")
KAIMING_UNIFORM = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # kaiming_uniform_(a=1)
TORCH_DEFAULT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # kernels without explicit initialisation


def uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's default for weights *and* biases of linear layers and convolutions: uniform in +-1 / sqrt(fan_in).

    Args:
      fan_in: number of inputs of an output: channels times the area of the kernel.
    """
    limit = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def kaiming_conv(
    features: int, size: int, stride: int = 1, *, use_bias: bool = False, dtype=jnp.float32, name: str
) -> nn.Conv:
    """A convolution with a square kernel, PyTorch's padding and `kaiming_normal_(mode="fan_out")`."""
    settings = dict(padding=size // 2, use_bias=use_bias, kernel_init=KAIMING_FAN_OUT)
    return nn.Conv(features, (size, size), stride, **settings, dtype=dtype, name=name)


def torch_conv(features: int, fan_in: int, size: int = 1, stride: int = 1, *, dtype=jnp.float32, name: str) -> nn.Conv:
    """A convolution that starts as `torch.nn.Conv2d(channels, features, size, stride, padding=size // 2)` does.

    Args:
      features: channels of the result.
      fan_in: channels times the area of the kernel.
      size: side of the kernel.
      stride: pixels from one place of the kernel to the next.
      dtype: type of the computation.
      name: of the module.
    """
    init = uniform_fan_in(fan_in)
    settings = dict(padding=size // 2, kernel_init=init, bias_init=init)
    return nn.Conv(features, (size, size), stride, **settings, dtype=dtype, name=name)


def torch_linear(features: int, fan_in: int, *, use_bias: bool = True, dtype=jnp.float32, name: str) -> nn.Dense:
    """A linear layer, initialised like `torch.nn.Linear(fan_in, features)`."""
    init = uniform_fan_in(fan_in)
    return nn.Dense(features, use_bias=use_bias, kernel_init=init, bias_init=init, dtype=dtype, name=name)
