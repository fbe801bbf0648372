"""STAR's stacked hourglass for landmarks: with coordinates as channels and maps of facial edges as attention."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.initializers import torch_conv
from facejax.models.precision import wide

BOUNDARY = 0.05  # threshold on the last landmark's heatmap, above which a cell's coordinates are repeated


def edge_weights(edges: Sequence[Sequence[int]], num_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [E, P] and bias [P], float32, that sum maps of edges to a map for each point.

    The map of a point is the sum of the edges that it lies on, or 1 everywhere if it lies on none.
    """
    weights = np.zeros((len(edges), num_points), np.float32)
    for number, points in enumerate(edges):
        weights[number, list(points)] = 1
    return weights, (~weights.any(0)).astype(np.float32)


def _conv(x, features: int, size: int = 1, stride: int = 1, *, dtype, name: str):
    return torch_conv(features, x.shape[-1] * size**2, size, stride, dtype=dtype, name=name)(x)


def _coordinates(height: int, width: int) -> np.ndarray:
    """Row and column in [-1, 1], and distance from the centre over its maximum: float64 [H, W, 3]."""
    row, column = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    radius = np.hypot(row, column)
    return np.stack([row, column, radius / radius.max()], axis=-1)


def _with_coordinates(x, heatmaps=None):
    """x [B, H, W, C] with 3 channels of coordinates; with heatmaps, 2 more where the last heatmap is high."""
    coordinates = jnp.broadcast_to(jnp.asarray(_coordinates(*x.shape[1:3]), x.dtype), (*x.shape[:3], 3))
    channels = [x, coordinates]
    if heatmaps is not None:
        channels.append(jnp.where(heatmaps[..., -1:] > BOUNDARY, coordinates[..., :2], 0))
    return jnp.concatenate(channels, axis=-1)


def soft_argmax(heatmaps: Float[ArrayLike, "B H W P"]) -> Float[Array, "B P 2"]:
    """Means (x, y) in [-1, 1], [B, P, 2], of heatmaps [B, H, W, P], which need not sum to 1."""
    height, width = heatmaps.shape[1:3]
    total = jnp.maximum(heatmaps.sum((1, 2)), 1e-6)
    x, y = (jnp.linspace(-1, 1, size, dtype=heatmaps.dtype)[:, None] for size in (width, height))
    return jnp.stack([(heatmaps.sum(1) * x).sum(1), (heatmaps.sum(2) * y).sum(1)], axis=-1) / total[..., None]


class ResidualBlock(nn.Module):
    """Convolutions 1x1, 3x3, 1x1, each after a batch norm; where widths differ, the shortcut is a convolution."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"], train: bool) -> Float[Array, "B H W {self.features}"]:
        """[B, H, W, C] -> [B, H, W, features]."""

        def layer(number, y, features, size):
            y = nn.relu(BatchNorm(dtype=self.dtype, name=f"norm{number}")(y, train))
            return _conv(y, features, size, dtype=self.dtype, name=f"conv{number}")

        y = layer(1, x, self.features // 2, 1)
        y = layer(2, y, self.features // 2, 3)
        y = layer(3, y, self.features, 1)
        if x.shape[-1] != self.features:
            x = _conv(x, self.features, dtype=self.dtype, name="shortcut")
        return x + y


class Hourglass(nn.Module):
    """Halves the grid `levels` times and doubles it again, with a residual block as skip connection at each size."""

    levels: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"], train: bool) -> Float[Array, "B H W C"]:
        """[B, H, W, C] -> [B, H, W, C]; H and W are multiples of 2^levels."""

        def block(name):
            return ResidualBlock(x.shape[-1], self.dtype, name=name)

        inner = Hourglass(self.levels - 1, self.dtype, name="inner") if self.levels > 1 else block("inner")
        y = block("down")(nn.max_pool(x, (2, 2), (2, 2)), train)
        y = block("up")(inner(y, train), train)
        return block("across")(x, train) + y.repeat(2, axis=1).repeat(2, axis=2)


class Stack(nn.Module):
    """One hourglass, its maps, and the input of the next one."""

    num_points: int
    edges: tuple[tuple[int, ...], ...]
    levels: int
    is_last: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "B h w C"], heatmaps: Float[ArrayLike, "B h w {self.num_points}"] | None, train: bool
    ) -> tuple[Float[Array, "B h w C"], Float[Array, "B h w {self.num_points}"], dict[str, Float[Array, "B h w _"]]]:
        """x [B, h, w, C] and the previous stack's heatmaps [B, h, w, P] (None: the first) -> the same, and maps."""
        width = x.shape[-1]
        y = _conv(_with_coordinates(x, heatmaps), width, dtype=self.dtype, name="coordinates")
        y = Hourglass(self.levels, self.dtype, name="hourglass")(y, train)
        y = ResidualBlock(width, self.dtype, name="block")(y, train)
        y = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(_conv(y, width, dtype=self.dtype, name="conv"), train))

        maps, heatmaps = landmark_maps(y, self.num_points, self.edges, self.dtype)
        if not self.is_last:
            merged = {"features": y, **maps, "heatmaps": heatmaps}
            x = x + sum(_conv(z, width, dtype=self.dtype, name=f"merge_{name}") for name, z in merged.items())
        return x, heatmaps, maps


def landmark_maps(x, num_points: int, edges: Sequence[Sequence[int]], dtype):
    """The maps of a grid of features [B, h, w, C], float32; to be called within a module, which gets the layers.

    Returns:
      "heatmaps" [B, h, w, P] that landmarks are the means of, "pointmaps" of the same shape and "edgemaps"
      [B, h, w, E] in [0, 1]; the heatmaps before these two attend to them.
    """

    def head(name, features):
        return _conv(x, features, dtype=dtype, name=name).astype(wide(dtype))

    heatmaps = nn.relu(_instance_norm(head("heatmaps", num_points)))
    pointmaps = nn.sigmoid(head("pointmaps", num_points))
    maps = {"heatmaps": pointmaps * heatmaps, "pointmaps": pointmaps}
    if edges:
        maps["edgemaps"] = nn.sigmoid(head("edgemaps", len(edges)))
        weights, bias = edge_weights(edges, num_points)
        weights = weights.astype(pointmaps.dtype)
        # "highest": accelerators round what they multiply to bfloat16 otherwise.
        maps["heatmaps"] *= jnp.einsum("bhwe,ep->bhwp", maps["edgemaps"], weights, precision="highest") + bias
    return maps, heatmaps


def landmarks_of(maps: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The maps of one stack with the channels first, and "landmarks" [B, P, 2], the means of its heatmaps."""
    landmarks = {"landmarks": soft_argmax(maps["heatmaps"])}
    return landmarks | {name: z.transpose(0, 3, 1, 2) for name, z in maps.items()}


def _instance_norm(x):
    """Normalises every channel of every image to mean 0 and variance 1."""
    centred = x - x.mean((1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean((1, 2), keepdims=True) + 1e-5)


class StackedHourglass(nn.Module):
    """Finds landmarks with a stack of hourglasses, each of which sees the maps of the previous one.

    A stack has a heatmap for each point, and sigmoid maps of points and of edges. A landmark is the mean of the product
    of the three, in which a point takes part in the edges that it lies on.

    Source: Zhou et al., "STAR loss", CVPR 2023, arXiv 2306.02763, official code `StackedHGNetV1`; the maps of edges are
    those of Huang et al., "ADNet", ICCV 2021, arXiv 2109.05721.

    Attributes:
      num_points: P.
      edges: the points of each of E edges, such as an entry of `facejax.data.landmark_targets.EDGES`.
      width: channels of the hourglasses; 256 is the published network.
      num_stacks: S.
      num_levels: number of halvings within an hourglass.
      stem_width: channels of the layers before the hourglasses; 128 is the published network.
      dtype: type of the computation; parameters, statistics, maps and landmarks are float32.
    """

    num_points: int
    edges: tuple[tuple[int, ...], ...]
    width: int = 256
    num_stacks: int = 4
    num_levels: int = 4
    stem_width: int = 128
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B H W 3"], train: bool) -> dict[str, Float[Array, "S B ..."]]:
        """Images to landmarks and maps of every stack.

        Args:
          images: [B, H, W, 3] in [-1, 1]; H and W are multiples of 4 * 2^num_levels. The official weights expect BGR.
          train: normalise by the batch instead of by running statistics.

        Returns:
          "landmarks" [S, B, P, 2], (x, y) in [-1, 1]; those of the last stack are the result.
          "heatmaps" [S, B, P, H/4, W/4], not normalised, "pointmaps" of the same shape, "edgemaps" [S, B, E, H/4, W/4].
        """
        x = _with_coordinates(images.astype(self.dtype))
        x = _conv(x, self.stem_width // 2, 7, 2, dtype=self.dtype, name="stem_conv")
        x = nn.relu(BatchNorm(dtype=self.dtype, name="stem_norm")(x, train))
        x = ResidualBlock(self.stem_width, self.dtype, name="stem_block0")(x, train)
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = ResidualBlock(self.stem_width, self.dtype, name="stem_block1")(x, train)
        x = ResidualBlock(self.width, self.dtype, name="stem_block2")(x, train)
        heatmaps, outputs = None, []
        for number in range(self.num_stacks):
            last = number == self.num_stacks - 1
            stack = Stack(self.num_points, self.edges, self.num_levels, last, self.dtype, name=f"stack{number}")
            x, heatmaps, maps = stack(x, heatmaps, train)
            outputs.append(landmarks_of(maps))
        return jax.tree.map(lambda *stacks: jnp.stack(stacks), *outputs)
