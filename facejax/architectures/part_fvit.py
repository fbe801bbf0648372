"""Part fViT and fViT after training, of LAFS, DINO-face and recognition: the class token, and the landmarks."""

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8
from pydantic.dataclasses import dataclass

from facejax.architectures import landmark_pictures
from facejax.architectures.architecture import SETTINGS, Architecture, Dtype
from facejax.models.fvit import SIZES, FaceTransformer, FViT
from facejax.models.landmarks import LandmarkNetwork
from facejax.models.patches import GEOMETRIES
from facejax.pictures import Caption


@dataclass(frozen=True, config=SETTINGS)
class PartFViT(Architecture):
    """Kind `embedding` [N, D], and `landmarks` [N, 2 P], the learned points, if requested.

    How well annotated points are predicted from them shows how consistent they are.

    Attributes:
      size: a key of `facejax.models.fvit.SIZES`.
      num_points: P, landmarks; or patches on a grid.
      patch_size: side of a patch, pixels.
      geometry: of the patches around landmarks, a key of `facejax.models.patches.GEOMETRIES`.
      has_landmarks: whether patches are around landmarks instead of on a grid.
      interpolate: whether positions are interpolated for another number of patches.
      kinds: of the features, in their order.
      dtype: of the transformer's computation.
      landmark_dtype: of the landmark network's.
    """

    captions: ClassVar[Mapping[str, Caption]] = landmark_pictures.CAPTIONS

    size: Literal[*SIZES] = "base"
    num_points: int = 196
    patch_size: int = 8
    geometry: Literal[*GEOMETRIES] = "official"
    has_landmarks: bool = True
    interpolate: bool = False
    kinds: tuple[Literal["embedding", "landmarks"], ...] = ("embedding",)
    dtype: Dtype = "float32"
    landmark_dtype: Dtype = "float32"

    @functools.cached_property
    def network(self) -> FaceTransformer:
        """The module."""
        landmark_network = LandmarkNetwork(self.num_points, dtype=jnp.dtype(self.landmark_dtype))
        return FaceTransformer(
            FViT(self.size, self.num_points, self.interpolate, dtype=jnp.dtype(self.dtype)),
            landmark_network if self.has_landmarks else None,
            self.patch_size,
            self.geometry,
        )

    @property
    def trunk(self) -> FaceTransformer:
        """What a head can be put on."""
        return self.network

    @property
    def stride(self) -> int:
        """Pixels a cell of the trunk's grid, where patches are on a grid."""
        return self.patch_size

    def has(self, function: str) -> bool:
        """On a grid there are no landmarks."""
        return super().has(function) and (self.has_landmarks or function != "landmarks")

    def init(self, rng, images):
        """Variables `{"params": {"transformer", "landmark_network"}, "batch_stats": {"landmark_network"}}`."""
        return self.network.init(rng, images, False)

    def encode(self, variables, images: Float[ArrayLike, "N S S 3"]) -> dict[str, Float[Array, "N _"]]:
        """The class token; the points, flattened."""
        features = {"embedding": self.network.apply(variables, images, False)}
        if "landmarks" in self.kinds:
            features["landmarks"] = self.landmarks(variables, images).reshape(images.shape[0], -1)
        return {kind: features[kind] for kind in self.kinds}

    def landmarks(self, variables, images: Float[ArrayLike, "N S S 3"]) -> Float[Array, "N {self.num_points} 2"]:
        """The learned points [N, P, 2], (x, y) in pixels of the square."""
        return self.network.apply(variables, images, False, method="points")

    def pictures(
        self, variables, images: Float[ArrayLike, "N S S 3"], pixels: UInt8[ArrayLike, "N S S 3"]
    ) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """Landmarks, patches and attention; see `landmark_pictures`."""
        _, sown = self.network.apply(variables, images, False, mutable=["intermediates"])
        attention = class_attention(sown["intermediates"]["transformer"])
        if not self.has_landmarks:
            return {"attention": landmark_pictures.attention_map(pixels, attention)}
        points = self.landmarks(variables, images)
        tokens = self.network.apply(variables, images, False, method="tokens")
        return landmark_pictures.draw(
            pixels, points, tokens, attention, patch_size=self.patch_size, geometry=self.geometry
        )


def class_attention(intermediates) -> jax.Array:
    """Attention of the class token to the patches in the last block, mean over the heads: [N, P]."""
    last = max(intermediates, key=lambda name: int(name.removeprefix("block")))
    return intermediates[last]["attention"]["class_attention"][0].mean(1)[:, 1:]
