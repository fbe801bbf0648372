"""PCL's network after training: trunk, face and pose, and the decoder that renders a face in a pose."""

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8
from pydantic.dataclasses import dataclass

from facejax.architectures.architecture import SETTINGS, Architecture, Dtype
from facejax.data.crops import as_float
from facejax.models.pcl import BRANCHES, PCLNetwork
from facejax.pictures import Caption

POSES = 3  # number of poses that a face is shown in
SWAPS = ("another face, for its pose", "the face in that pose") * POSES
DECODED = ("face, pose of mirror", "mirror, pose of face", "face, own pose", "mirror, own pose")


@dataclass(frozen=True, config=SETTINGS)
class PCLBranches(Architecture):
    """Kinds `trunk`, and each existing branch of `face` and `pose`: flattened, [N, h w C].

    Attributes:
      width: channels of the trunk's first layers.
      branches: of the network.
      decoder_size: side of the decoded image; 0: there is no decoder.
      dtype: of the computation.
    """

    captions: ClassVar[Mapping[str, Caption]] = {
        "reconstructions": Caption(columns=("face", "its mirror image", *DECODED)),
        "pose_swaps": Caption(columns=("face", *SWAPS)),
    }

    width: int = 64
    branches: tuple[Literal[*BRANCHES], ...] = BRANCHES
    decoder_size: int = 64
    dtype: Dtype = "float32"

    @functools.cached_property
    def network(self) -> PCLNetwork:
        """The module; projections are not used."""
        size = self.decoder_size or PCLNetwork.decoder_size
        return PCLNetwork(width=self.width, decoder_size=size, dtype=jnp.dtype(self.dtype))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The trunk's features first, which the paper's protocols use."""
        return ("trunk", *self.branches)

    def has(self, function: str) -> bool:
        """Without a decoder nothing can be reconstructed."""
        return super().has(function) and bool(self.decoder_size or function != "reconstruct")

    def init(self, rng, images):
        """Variables `{"params"}`, and of a decoder `{"batch_stats"}`."""

        def run(network, images):
            features = network(images, self.branches)
            return network.decode(features["face"], features["pose"], False) if self.decoder_size else features

        return self.network.init(rng, images, method=run)

    def encode(self, variables, images: Float[ArrayLike, "N S S 3"]) -> dict[str, Float[Array, "N _"]]:
        """The features of the images."""
        return self.network.apply(variables, images, branches=self.branches)

    def reconstruct(self, variables, images, poses) -> jax.Array:
        """Faces of `images` in the poses of `poses`, both [N, S, S, 3]: float32 [N, s, s, 3] in [0, 1]."""
        faces, poses = self.encode(variables, images), self.encode(variables, poses)
        return self._decode(variables, faces, poses).clip(0, 1)

    def _decode(self, variables, face, pose):
        return self.network.apply(variables, face["face"], pose["pose"], train=False, method="decode")

    def pictures(
        self, variables, images: Float[ArrayLike, "N S S 3"], pixels: UInt8[ArrayLike, "N S S 3"]
    ) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """Output of the decoder, one row per image.

        `reconstructions` [N, S, 6 S, 3]: source s, mirror image f, then the face of s in the pose of f, of f in the
        pose of s, of s in the pose of s, of f in the pose of f. `pose_swaps` [N, S, (1 + 2 P) S, 3]: the face, then P
        times another image, which gives the pose, and the face in that pose; P is `POSES`. Without a decoder there are
        no pictures.
        """
        if not self.decoder_size:
            return {}
        source = as_float(pixels)
        here, there = self.encode(variables, images), self.encode(variables, images[:, :, ::-1])

        def decode(face, pose):
            return jax.image.resize(self._decode(variables, face, pose), source.shape, "bilinear")

        pairs = [(here, there), (there, here), (here, here), (there, there)]
        swaps = [source]
        for shift in range(1, POSES + 1):
            other = jax.tree.map(lambda x, shift=shift: jnp.roll(x, -shift, axis=0), here)
            swaps += [jnp.roll(source, -shift, axis=0), decode(here, other)]
        return {
            "reconstructions": in_a_row([source, source[:, :, ::-1], *(decode(*pair) for pair in pairs)]),
            "pose_swaps": in_a_row(swaps),
        }


def in_a_row(images: list[jax.Array]) -> jax.Array:
    """Images [N, H, W, 3] in 0..1 next to each other, uint8 [N, H, sum of W, 3]."""
    return jnp.round(jnp.concatenate(images, axis=2).clip(0, 1) * 255).astype(jnp.uint8)
