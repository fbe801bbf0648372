"""The network of PCL: a trunk, a face and a pose branch, their projections, and a decoder that combines both."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.initializers import kaiming_conv, torch_conv, torch_linear
from facejax.models.precision import wide
from facejax.models.vectors import unit

BRANCHES = ("face", "pose")
_conv = functools.partial(kaiming_conv, use_bias=True)
SMALLEST_IMAGE = 16  # pixels; below this, the trunk's grid is a single cell


def grid_side(image_size: int) -> int:
    """Cells along a side of the trunk's grid: four convolutions of stride 2, each rounding up."""
    return math.ceil(image_size / 16)


def _upsample(x):
    """Doubles height and width of x [B, H, W, C] bilinearly, pixels being squares (half-pixel centres)."""
    for axis in (1, 2):
        before = jnp.concatenate([lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, 0, -1, axis=axis)], axis)
        after = jnp.concatenate(
            [lax.slice_in_dim(x, 1, None, axis=axis), lax.slice_in_dim(x, -1, None, axis=axis)], axis
        )
        shape = [size * 2 if i == axis else size for i, size in enumerate(x.shape)]
        x = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1).reshape(shape)
    return x


class ConvLeaky(nn.Module):
    """A convolution with bias, then LeakyReLU 0.1."""

    features: int
    size: int = 3
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B h w {self.features}"]:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]."""
        return nn.leaky_relu(_conv(self.features, self.size, self.stride, dtype=self.dtype, name="conv")(x), 0.1)


class LinearAttention(nn.Module):
    """Linear attention over positions: `theta` gathers, `g` distributes; then LeakyReLU 0.1 of the sum with the input.

    With g, theta, phi: C x N from 1x1 convolutions on N positions, S = phi softmax_N(theta)^T and A = S softmax_C(g).
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B H W C"]:
        """[B, H, W, C] -> [B, H, W, C]."""
        batch, height, width, channels = x.shape

        def positions(name):
            return _conv(channels, 1, dtype=self.dtype, name=name)(x).reshape(batch, height * width, channels)

        gathered = jax.nn.softmax(positions("theta").astype(wide(self.dtype)), axis=1).astype(self.dtype)
        distributed = jax.nn.softmax(positions("g").astype(wide(self.dtype)), axis=2).astype(self.dtype)
        summary = jnp.einsum("bnc,bnd->bcd", positions("phi"), gathered)
        attended = jnp.einsum("bcd,bnd->bnc", summary, distributed)
        return nn.leaky_relu(x + attended.reshape(x.shape), 0.1)


class ResidualBlock(nn.Module):
    """3x3 convolution, LeakyReLU, 3x3 convolution, sum with the input, LeakyReLU."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B H W C"]:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels = x.shape[-1]
        y = nn.leaky_relu(_conv(channels, 3, dtype=self.dtype, name="conv1")(x), 0.1)
        return nn.leaky_relu(x + _conv(channels, 3, dtype=self.dtype, name="conv2")(y), 0.1)


class Trunk(nn.Module):
    """The encoder shared by both branches; without batch norm.

    Attributes:
      width: channels of the first layers; 64 is the published network.
      dtype: type of the computation.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B H W 3"]) -> Float[Array, "B h w C"]:
        """Images [B, H, W, 3] in [0, 1] -> [B, ceil(H / 16), ceil(W / 16), 2 width]."""
        width = self.width

        def conv(name, features, size=3, stride=1):
            return ConvLeaky(features, size, stride, self.dtype, name=name)

        x = conv("conv1", width, size=7, stride=2)(images.astype(self.dtype))
        x = conv("conv2", width)(x)
        x = conv("conv3", width)(x)
        x = LinearAttention(self.dtype, name="attention1")(x)
        x = conv("conv4", width)(x)
        x = conv("conv5", 2 * width, stride=2)(x)
        x = LinearAttention(self.dtype, name="attention2")(x)
        x = conv("conv6", 2 * width)(x)
        x = ResidualBlock(self.dtype, name="block1")(x)
        x = ResidualBlock(self.dtype, name="block2")(x)
        x = conv("conv7", 2 * width, stride=2)(x)
        x = conv("conv8", 2 * width)(x)
        x = conv("conv9", 4 * width, stride=2)(x)
        return conv("conv10", 2 * width)(x)


class Branch(nn.Module):
    """Two 3x3 convolutions with LeakyReLU, flattened."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, grid: Float[ArrayLike, "B h w C"]) -> Float[Array, "B D"]:
        """[B, h, w, C] -> float32 [B, h w C]."""
        for name in ("conv1", "conv2"):
            grid = ConvLeaky(grid.shape[-1], dtype=self.dtype, name=name)(grid)
        return grid.reshape(grid.shape[0], -1).astype(wide(self.dtype))


class Projection(nn.Module):
    """Linear, ReLU, linear, batch norm.

    Attributes:
      hidden_dim: width of the hidden layer.
      output_dim: width of the result.
      dtype: type of the computation.
    """

    hidden_dim: int = 2048
    output_dim: int = 512
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B D"], train: bool) -> Float[Array, "B {self.output_dim}"]:
        """[B, D] -> float32 [B, output_dim], not normalised."""
        x = nn.relu(torch_linear(self.hidden_dim, x.shape[-1], dtype=self.dtype, name="hidden")(x))
        x = torch_linear(self.output_dim, self.hidden_dim, dtype=self.dtype, name="output")(x)
        return BatchNorm(dtype=wide(self.dtype), name="norm")(x, train)


class Decoder(nn.Module):
    """Decodes an image from a feature vector: a 1x1 map is doubled until it is `size` pixels wide.

    Attributes:
      width: channels of the trunk's first layers, which set the decoder's: 8 width, 4 width, ..., 2 width, 3.
      size: side of the image, a power of two; 64 is the published network.
      dtype: type of the computation.
    """

    width: int = 64
    size: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B D"], train: bool) -> Float[Array, "B {self.size} {self.size} 3"]:
        """[B, D] -> float32 [B, size, size, 3] in [-1, 1]."""
        doublings = int(math.log2(self.size))
        widths = [4 * self.width] * (doublings - 2) + [2 * self.width, 3]
        x = torch_linear(8 * self.width, features.shape[-1], dtype=self.dtype, name="linear")(features)[
            :, None, None, :
        ]
        for index, channels in enumerate(widths, start=1):
            x = _upsample(nn.relu(x))
            x = torch_conv(channels, 9 * x.shape[-1], 3, dtype=self.dtype, name=f"conv{index}")(x)
            if index < doublings:
                x = BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train)
        return jnp.tanh(x.astype(wide(self.dtype)))


class PCLNetwork(nn.Module):
    """Liu et al., "Pose-disentangled contrastive learning", CVPR 2023 (arXiv:2211.13490).

    Each method uses only the submodules that it needs, so it can be applied to, and differentiated in, their parameters
    alone. Collections: `params` and, for projections and decoder, `batch_stats`.

    Attributes:
      width: channels of the trunk's first layers.
      hidden_dim: hidden width of the projections.
      projection_dim: width of the projections.
      decoder_size: side of the decoded image, a power of two.
      dtype: type of the computation; results are float32.
    """

    width: int = 64
    hidden_dim: int = 2048
    projection_dim: int = 512
    decoder_size: int = 64
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Declares the submodules."""
        self.trunk = Trunk(self.width, self.dtype)
        self.face_branch, self.pose_branch = Branch(self.dtype), Branch(self.dtype)
        self.face_projection = Projection(self.hidden_dim, self.projection_dim, self.dtype)
        self.pose_projection = Projection(self.hidden_dim, self.projection_dim, self.dtype)
        self.decoder = Decoder(self.width, self.decoder_size, self.dtype)

    def __call__(
        self, images: Float[ArrayLike, "B H W 3"], branches: tuple[str, ...] = BRANCHES
    ) -> dict[str, Float[Array, "B _"]]:
        """Embeds images [B, H, W, 3] in [0, 1].

        Returns a dict of float32 arrays [B, h w C], flattened and not normalised: `trunk`, and the outputs of the
        `branches`.
        """
        grid = self.trunk(images)
        features = {"trunk": grid.reshape(grid.shape[0], -1).astype(wide(self.dtype))}
        heads = {"face": self.face_branch, "pose": self.pose_branch}
        return features | {branch: heads[branch](grid) for branch in branches}

    def project(
        self, features: Float[ArrayLike, "B D"], branch: str, train: bool
    ) -> Float[Array, "B {self.projection_dim}"]:
        """Projections, float32 [B, projection_dim], of the flattened features [B, D] of a branch."""
        projections = {"face": self.face_projection, "pose": self.pose_projection}
        return projections[branch](features, train)

    def decode(
        self, face: Float[ArrayLike, "B D"], pose: Float[ArrayLike, "B D"], train: bool
    ) -> Float[Array, "B {self.decoder_size} {self.decoder_size} 3"]:
        """Images float32 [B, decoder_size, decoder_size, 3] in [-1, 1] of faces in poses, both [B, D]."""
        return self.decoder(unit(face + pose), train)

    def run_all(self, images, train: bool):
        """Runs every submodule once, for `init`."""
        features = self(images)
        face, pose = features["face"], features["pose"]
        return self.face_projection(face, train), self.pose_projection(pose, train), self.decode(face, pose, train)
