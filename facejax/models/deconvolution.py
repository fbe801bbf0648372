"""Landmarks by deconvolution on the features of a backbone that has learned something else."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.fvit import FaceTransformer
from facejax.models.hourglass import landmark_maps, landmarks_of
from facejax.models.resnet import ResNet

STRIDE = 4  # pixels a cell of the maps


class DeconvolutionHead(nn.Module):
    """Doubles a grid until a cell is 4 pixels, then makes maps of it.

    Source: Xiao et al., "Simple baselines for human pose estimation", ECCV 2018, arXiv 1804.06208; the maps are those
    of a stack of STAR's hourglass.

    Attributes:
      num_points: P.
      edges: the points of each of E edges, or none: points alone.
      doublings: how often the grid is doubled.
      width: channels.
      dtype: type of the computation; maps and landmarks are float32.
    """

    num_points: int
    edges: tuple[tuple[int, ...], ...]
    doublings: int
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B h w C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        """[B, h, w, C] -> what a stack of `StackedHourglass` returns; without edges there are no "edgemaps"."""
        init = nn.initializers.normal(0.001)
        for index in range(self.doublings):
            x = nn.ConvTranspose(
                self.width, (4, 4), (2, 2), padding="SAME", use_bias=False, kernel_init=init, dtype=self.dtype,
                name=f"deconvolution{index}",
            )(x)  # fmt: skip
            x = nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train))
        maps, _ = landmark_maps(x, self.num_points, self.edges, self.dtype)
        return landmarks_of(maps)


class Aligner(nn.Module):
    """A backbone with a `DeconvolutionHead`.

    Attributes:
      backbone: a `ResNet`, or a `FaceTransformer` on a regular grid of patches.
      num_points: P.
      edges: the points of each of E edges, or none.
      stride: pixels a cell of the backbone's grid, a power of two.
      width: channels of the head.
      dtype: type of the head's computation.
    """

    backbone: ResNet | FaceTransformer
    num_points: int
    edges: tuple[tuple[int, ...], ...]
    stride: int
    width: int
    dtype: jnp.dtype

    def setup(self):
        """Declares the head."""
        doublings = int(math.log2(self.stride // STRIDE))
        self.head = DeconvolutionHead(self.num_points, self.edges, doublings, self.width, self.dtype)

    def __call__(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> dict[str, Float[Array, "1 B ..."]]:
        """Normalised images [B, S, S, 3] -> what `StackedHourglass` returns, with one stack."""
        grid = self.backbone.grid if isinstance(self.backbone, FaceTransformer) else self.backbone
        return jax.tree.map(lambda x: x[None], self.head(grid(images, train), train))
