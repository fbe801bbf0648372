"""MobileNetV3-Large without its last convolutions, as Part fViT uses it to find landmarks."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from facejax.models.batch_norm import BatchNorm
from facejax.models.resnet import KAIMING_FAN_OUT

BLOCKS = (  # kernel, expanded channels, channels, squeeze and excite, h-swish (else ReLU), stride
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


class Depthwise(nn.Module):
    """Convolution of every channel with a kernel of its own, PyTorch's padding, no bias."""

    kernel: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C]."""
        kernel = self.param("kernel", KAIMING_FAN_OUT, (self.kernel, self.kernel, 1, x.shape[-1]))
        # XLA's grouped convolutions are up to 200 times slower than sums of shifted images on CPUs.
        return lax.platform_dependent(x, kernel.astype(self.dtype), cpu=self._as_sum, default=self._as_convolution)

    def _as_sum(self, x, kernel):
        padding = self.kernel // 2
        height, width = (-(-size // self.stride) for size in x.shape[1:3])
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        return sum(
            x[
                :,
                i : i + self.stride * (height - 1) + 1 : self.stride,
                j : j + self.stride * (width - 1) + 1 : self.stride,
            ]
            * kernel[i, j, 0]
            for i in range(self.kernel)
            for j in range(self.kernel)
        )

    def _as_convolution(self, x, kernel):
        padding = [(self.kernel // 2,) * 2] * 2
        return lax.conv_general_dilated(
            x,
            kernel,
            (self.stride,) * 2,
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )


class ConvNorm(nn.Module):
    """Convolution with PyTorch's padding, no bias, and its batch norm."""

    features: int
    kernel: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, train: bool):
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        padding = self.kernel // 2
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            padding=[(padding, padding)] * 2,
            use_bias=False,
            kernel_init=KAIMING_FAN_OUT,
            dtype=self.dtype,
            name="conv",
        )(x)
        return BatchNorm(dtype=self.dtype, name="norm")(x, train)


class SqueezeExcite(nn.Module):
    """Scales each channel by a number that the pooled channels decide (arXiv:1709.01507); no biases."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] -> [B, H, W, C]."""
        channels, normal = x.shape[-1], nn.initializers.normal(0.01)

        def dense(features, name):
            return nn.Dense(features, use_bias=False, kernel_init=normal, dtype=self.dtype, name=name)

        gate = x.mean((1, 2), dtype=jnp.float32)
        gate = dense(channels, "expand")(nn.relu(dense(channels // 4, "reduce")(gate)))
        return x * nn.hard_sigmoid(gate)[:, None, None]


class InvertedResidual(nn.Module):
    """Widening 1x1, depth-wise and narrowing 1x1 convolution; a shortcut where the shape stays."""

    kernel: int
    expanded: int
    features: int
    squeeze_excite: bool
    hard_swish: bool
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, train: bool):
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        activation = nn.hard_swish if self.hard_swish else nn.relu
        y = activation(ConvNorm(self.expanded, 1, 1, self.dtype, name="expand")(x, train))
        y = Depthwise(self.kernel, self.stride, self.dtype, name="depthwise")(y)
        y = BatchNorm(dtype=self.dtype, name="depthwise_norm")(y, train)
        if self.squeeze_excite:
            y = SqueezeExcite(self.dtype, name="squeeze_excite")(y)
        y = ConvNorm(self.features, 1, 1, self.dtype, name="project")(activation(y), train)
        return x + y if x.shape == y.shape else y


class MobileNetV3(nn.Module):
    """The trunk of MobileNetV3-Large up to its last 160-channel block (Howard et al., arXiv:1905.02244, table 1).

    As in the official Part fViT, the first block keeps its 16 -> 16 expansion, and the squeezed width is C/4 unrounded.

    Attributes:
      dtype: type of the computation; parameters and statistics are float32.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train: bool):
        """Normalised images [B, H, W, 3] -> grid of features [B, ceil(H / 32), ceil(W / 32), 160]."""
        x = nn.hard_swish(ConvNorm(16, 3, 2, self.dtype, name="stem")(images.astype(self.dtype), train))
        for index, settings in enumerate(BLOCKS, start=1):
            x = InvertedResidual(*settings, self.dtype, name=f"block{index}")(x, train)
        return x
