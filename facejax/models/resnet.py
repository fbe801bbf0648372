"""Residual networks, v1.5 (stride on the 3x3 convolution), with PyTorch's padding and initial values."""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.initializers import kaiming_conv


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    features: int
    stride: int
    dtype: DTypeLike
    expansion = 1

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"], train: bool) -> Float[Array, "B h w {self.features}"]:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        conv = functools.partial(kaiming_conv, self.features, dtype=self.dtype)
        norm = functools.partial(BatchNorm, dtype=self.dtype)
        y = nn.relu(norm(name="bn1")(conv(3, self.stride, name="conv1")(x), train))
        y = norm(name="bn2")(conv(3, 1, name="conv2")(y), train)
        if x.shape != y.shape:
            x = norm(name="downsample_bn")(conv(1, self.stride, name="downsample_conv")(x), train)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and widening 1x1 convolution, and a shortcut."""

    features: int
    stride: int
    dtype: DTypeLike
    expansion = 4

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"], train: bool) -> Float[Array, "B h w 4*{self.features}"]:
        """[B, H, W, C] -> [B, H / stride, W / stride, 4 features]."""
        conv = functools.partial(kaiming_conv, dtype=self.dtype)
        norm = functools.partial(BatchNorm, dtype=self.dtype)
        y = nn.relu(norm(name="bn1")(conv(self.features, 1, 1, name="conv1")(x), train))
        y = nn.relu(norm(name="bn2")(conv(self.features, 3, self.stride, name="conv2")(y), train))
        y = norm(name="bn3")(conv(self.features * self.expansion, 1, 1, name="conv3")(y), train)
        if x.shape != y.shape:
            shortcut = conv(self.features * self.expansion, 1, self.stride, name="downsample_conv")(x)
            x = norm(name="downsample_bn")(shortcut, train)
        return nn.relu(x + y)


VARIANTS = {  # name: block, blocks a stage, factor on the width
    "resnet18": (BasicBlock, (2, 2, 2, 2), 1),
    "resnet34": (BasicBlock, (3, 4, 6, 3), 1),
    "resnet50": (Bottleneck, (3, 4, 6, 3), 1),
    "resnet50x2": (Bottleneck, (3, 4, 6, 3), 2),
    "resnet101": (Bottleneck, (3, 4, 23, 3), 1),
}
OUTPUT_STRIDES = (8, 16, 32)


class ResNet(nn.Module):
    """The convolutional part of a ResNet, without pooling at the end.

    Attributes:
      variant: a key of `VARIANTS`.
      width: channels of the stem and of the first stage's inner convolutions; 64 is the published network.
      output_stride: pixels per cell of the final grid, one of `OUTPUT_STRIDES`. 32 is the published network; below it,
        the last stages do not stride, so small images keep a grid on which regions can be found.
      dtype: type of the computation; parameters and statistics are float32.
    """

    variant: str = "resnet50"
    width: int = 64
    output_stride: int = 32
    dtype: DTypeLike = jnp.float32

    @property
    def channels(self) -> int:
        """Channels of the result."""
        block, _, factor = VARIANTS[self.variant]
        return self.width * factor * 8 * block.expansion

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B H W 3"], train: bool) -> Float[Array, "B h w C"]:
        """Normalised images [B, H, W, 3] -> features [B, ceil(H / stride), ceil(W / stride), channels]."""
        block, depths, factor = VARIANTS[self.variant]
        width = self.width * factor
        x = kaiming_conv(width, 7, 2, dtype=self.dtype, name="conv1")(images.astype(self.dtype))
        x = nn.relu(BatchNorm(dtype=self.dtype, name="bn1")(x, train))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 and 4 * 2**stage <= self.output_stride else 1
                name = f"layer{stage + 1}_{index}"
                x = block(width * 2**stage, stride, self.dtype, name=name)(x, train)
        return x
