"""Networks that find annotated landmarks by heatmaps: STAR's stacked hourglass, and deconvolutions on an encoder."""

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic.dataclasses import dataclass

from facejax.architectures import landmark_pictures
from facejax.architectures.architecture import SETTINGS, Architecture, Dtype
from facejax.architectures.part_fvit import PartFViT
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.data.landmark_targets import EDGES, NUM_POINTS
from facejax.models.deconvolution import Aligner
from facejax.models.hourglass import StackedHourglass
from facejax.pictures import Caption

PICTURE = 256  # pixels that a face is enlarged to, about


class LandmarkMaps(Architecture):
    """Kind `landmarks` [N, 2 P], (x, y) in pixels of the square.

    Subclasses have `points`, the data set in whose order the points are, `edges`, whether there are maps of its edges,
    and a `network`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("landmarks",)
    captions: ClassVar[Mapping[str, Caption]] = {"landmarks": Caption("the landmarks that the network finds")}
    network: nn.Module

    @property
    def num_points(self) -> int:
        """P."""
        return NUM_POINTS[self.points]

    @property
    def edge_points(self) -> tuple[tuple[int, ...], ...]:
        """The points of each edge that has a map."""
        return tuple(edge.points for edge in EDGES[self.points]) if self.edges else ()

    def init(self, rng, images):
        """Variables `{"params", "batch_stats"}`."""
        return self.network.init(rng, images, False)

    def encode(self, variables, images) -> dict[str, jax.Array]:
        """The points, flattened."""
        return {"landmarks": self.landmarks(variables, images).reshape(len(images), -1)}

    def landmarks(self, variables, images) -> jax.Array:
        """The points of the last stack, [N, P, 2]."""
        points = self.network.apply(variables, images, False)["landmarks"][-1]
        return (points + 1) / 2 * images.shape[1] - 0.5

    def pictures(self, variables, images, pixels) -> dict[str, jax.Array]:
        """The points on the faces."""
        zoom = max(1, PICTURE // images.shape[1])
        return {"landmarks": landmark_pictures.points_of(pixels, self.landmarks(variables, images), zoom=zoom)}


@dataclass(frozen=True, config=SETTINGS)
class StarHourglass(LandmarkMaps):
    """STAR's stacked hourglass.

    Attributes:
      points: a key of `facejax.data.landmark_targets.EDGES`.
      edges: whether there are maps of edges.
      width: channels.
      num_stacks: hourglasses.
      num_levels: halvings within an hourglass.
      stem_width: channels of the layers before them.
      dtype: of the computation.
    """

    points: Literal[*EDGES] = "wflw"
    edges: bool = True
    width: int = 256
    num_stacks: int = 4
    num_levels: int = 4
    stem_width: int = 128
    dtype: Dtype = "float32"

    @functools.cached_property
    def network(self) -> StackedHourglass:
        """The module."""
        settings = self.width, self.num_stacks, self.num_levels, self.stem_width, jnp.dtype(self.dtype)
        return StackedHourglass(self.num_points, self.edge_points, *settings)


@dataclass(frozen=True, config=SETTINGS)
class Deconvolutions(LandmarkMaps):
    """Deconvolutions on the grid of an encoder.

    Attributes:
      encoder: a ResNet, or a transformer on a regular grid of patches.
      points: a key of `facejax.data.landmark_targets.EDGES`.
      edges: whether there are maps of edges.
      width: channels of the deconvolutions.
    """

    encoder: PooledResNet | PartFViT
    points: Literal[*EDGES] = "wflw"
    edges: bool = False
    width: int = 256

    @functools.cached_property
    def network(self) -> Aligner:
        """The module."""
        return self.on(self.encoder.trunk)

    def on(self, trunk: nn.Module) -> Aligner:
        """The module on the encoder's own module, or on one like it that drops out."""
        dtype, stride = jnp.dtype(self.encoder.dtype), self.encoder.stride
        return Aligner(trunk, self.num_points, self.edge_points, stride, self.width, dtype)
