"""MobileNetV3-Large without its last convolutions, as Part fViT uses it to find landmarks."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from facejax.models.batch_norm import BatchNorm
from facejax.models.initializers import KAIMING_FAN_OUT
from facejax.models.precision import wide

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
        as_sum = functools.partial(_sum_of_shifted, self.stride)
        return lax.platform_dependent(x, kernel.astype(self.dtype), cpu=as_sum, default=self._as_convolution)

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_of_shifted(stride: int, x, kernel):
    size, padded = len(kernel), _pad(x, len(kernel) // 2)
    height, width = (-(-extent // stride) for extent in x.shape[1:3])
    return sum(
        padded[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        * kernel[i, j, 0]
        for i in range(size)
        for j in range(size)
    )


def _sum_of_shifted_forward(stride, x, kernel):
    return _sum_of_shifted(stride, x, kernel), (x, kernel)


def _sum_of_shifted_backward(stride, saved, gradient):
    """One shift after the other in a loop, whose operands are computed once: XLA fuses unrolled ones with what comes
    before them, and computes that anew for each shift (4 times slower in all, 10 times to compile)."""
    x, kernel = saved
    size, margin = len(kernel), len(kernel) // 2
    padded = _pad(x, margin)
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *[(0, 0, stride - 1)] * 2, (0, 0, 0)))

    def shift(gathered, tap):
        index, weights = tap
        corner = (0, index // size, index % size, 0)
        seen = lax.dynamic_slice(padded, corner, spread.shape)[:, ::stride, ::stride]
        moved = lax.dynamic_slice(gathered, corner, spread.shape) + spread * weights
        # The sum over the batch is left for later: where that is split, it is a reduction over devices.
        return lax.dynamic_update_slice(gathered, moved, corner), (seen * gradient).sum((1, 2))

    taps = jnp.arange(size**2), kernel.reshape(size**2, -1)
    gathered, of_kernel = lax.scan(shift, jnp.zeros_like(padded), taps)
    return gathered[:, margin:-margin, margin:-margin], of_kernel.sum(1).reshape(kernel.shape)


def _pad(x, margin: int):
    return jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))


_sum_of_shifted.defvjp(_sum_of_shifted_forward, _sum_of_shifted_backward)


class ConvNorm(nn.Module):
    """Convolution with PyTorch's padding, no bias, and its batch norm, whose factors start at `scale_init`."""

    features: int
    kernel: int
    stride: int
    dtype: jnp.dtype
    scale_init: nn.initializers.Initializer = nn.initializers.ones

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
        return BatchNorm(scale_init=self.scale_init, dtype=self.dtype, name="norm")(x, train)


class SqueezeExcite(nn.Module):
    """Scales each channel by a number that the pooled channels decide (arXiv:1709.01507); no biases."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] -> [B, H, W, C]."""
        channels, normal = x.shape[-1], nn.initializers.normal(0.01)

        def dense(features, name):
            return nn.Dense(features, use_bias=False, kernel_init=normal, dtype=self.dtype, name=name)

        gate = x.mean((1, 2), dtype=wide(self.dtype))
        gate = dense(channels, "expand")(nn.relu(dense(channels // 4, "reduce")(gate)))
        return x * nn.hard_sigmoid(gate)[:, None, None]


class InvertedResidual(nn.Module):
    """Widening 1x1, depth-wise and narrowing 1x1 convolution; a shortcut where the shape stays.

    With `identity_start` a block with a shortcut starts as the identity (Goyal et al., arXiv:1706.02677, section 5.1).
    """

    kernel: int
    expanded: int
    features: int
    squeeze_excite: bool
    hard_swish: bool
    stride: int
    identity_start: bool
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
        shortcut = self.stride == 1 and x.shape[-1] == self.features
        scale_init = nn.initializers.zeros if shortcut and self.identity_start else nn.initializers.ones
        y = ConvNorm(self.features, 1, 1, self.dtype, scale_init, name="project")(activation(y), train)
        return x + y if shortcut else y


class MobileNetV3(nn.Module):
    """The trunk of MobileNetV3-Large up to its last 160-channel block (Howard et al., arXiv:1905.02244, table 1).

    As in the official Part fViT, the first block keeps its 16 -> 16 expansion, and the squeezed width is C/4 unrounded.

    Attributes:
      identity_start: whether blocks with a shortcut start as the identity; not so officially.
      dtype: type of the computation; parameters and statistics are float32.
    """

    identity_start: bool = False
    dtype: jnp.dtype = jnp.float32

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return BLOCKS[-1][2]

    @nn.compact
    def __call__(self, images, train: bool):
        """Normalised images [B, H, W, 3] -> grid of features [B, ceil(H / 32), ceil(W / 32), 160]."""
        x = nn.hard_swish(ConvNorm(16, 3, 2, self.dtype, name="stem")(images.astype(self.dtype), train))
        for index, settings in enumerate(BLOCKS, start=1):
            x = InvertedResidual(*settings, self.identity_start, self.dtype, name=f"block{index}")(x, train)
        return x
