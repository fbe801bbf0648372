"""MobileNetV3-Large without its last convolutions, used by Part fViT to find landmarks."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.depthwise import Depthwise
from facejax.models.initializers import kaiming_conv
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


class ConvNorm(nn.Module):
    """Convolution with PyTorch's padding and no bias, and a batch norm with factors that start at `scale_init`."""

    features: int
    kernel: int
    stride: int
    dtype: DTypeLike
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"], train: bool) -> Float[Array, "B h w {self.features}"]:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        x = kaiming_conv(self.features, self.kernel, self.stride, dtype=self.dtype, name="conv")(x)
        return BatchNorm(scale_init=self.scale_init, dtype=self.dtype, name="norm")(x, train)


class SqueezeExcite(nn.Module):
    """Scales each channel by a number computed from the pooled channels (arXiv:1709.01507); no biases."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B H W C"]:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels, normal = x.shape[-1], nn.initializers.normal(0.01)

        def dense(features, name):
            return nn.Dense(features, use_bias=False, kernel_init=normal, dtype=self.dtype, name=name)

        gate = x.mean((1, 2), dtype=wide(self.dtype))
        gate = dense(channels, "expand")(nn.relu(dense(channels // 4, "reduce")(gate)))
        return x * nn.hard_sigmoid(gate)[:, None, None]


class InvertedResidual(nn.Module):
    """Widening 1x1, depth-wise and narrowing 1x1 convolution; a shortcut where the shape does not change.

    With `identity_start` a block with a shortcut starts as the identity (Goyal et al., arXiv:1706.02677, section 5.1).
    """

    kernel: int
    expanded: int
    features: int
    squeeze_excite: bool
    hard_swish: bool
    stride: int
    identity_start: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"], train: bool) -> Float[Array, "B h w {self.features}"]:
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
      identity_start: whether blocks with a shortcut start as the identity, unlike the official code.
      dtype: type of the computation; parameters and statistics are float32.
    """

    identity_start: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return BLOCKS[-1][2]

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B H W 3"], train: bool) -> Float[Array, "B h w C"]:
        """Normalised images [B, H, W, 3] -> grid of features [B, ceil(H / 32), ceil(W / 32), 160]."""
        x = nn.hard_swish(ConvNorm(16, 3, 2, self.dtype, name="stem")(images.astype(self.dtype), train))
        for index, settings in enumerate(BLOCKS, start=1):
            x = InvertedResidual(*settings, self.identity_start, self.dtype, name=f"block{index}")(x, train)
        return x
