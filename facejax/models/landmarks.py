"""The network that predicts where patches of a face are cut, trained through these patches."""

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.initializers import uniform_fan_in
from facejax.models.mobilenet import MobileNetV3
from facejax.models.precision import wide

STARTS = ("official", "grid")


class LandmarkNetwork(nn.Module):
    """Finds points of a face without labelled points (Part fViT, arXiv:2212.00057, section 3.2).

    Attributes:
      num_points: P.
      start: "official": initialised as in the official code, with points at random places of each image. "grid": with
        the points on a regular grid, the same for every image, as spatial transformers start from the identity
        (arXiv:1506.02025), and with residual blocks that start as the identity. Short runs need the grid: points that
        start at random soon become independent of the image.
      dropout: rate before the last layer; training needs the random stream `dropout` unless it is 0.
      dtype: type of the trunk's computation; the points are float32.
    """

    num_points: int = 196
    start: str = "official"
    dropout: float = 0.5
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Declares trunk and last layer."""
        on_grid = self.start == "grid"
        self.trunk = MobileNetV3(identity_start=on_grid, dtype=self.dtype)
        kernel_init, bias_init = (
            (nn.initializers.zeros, _grid) if on_grid else (uniform_fan_in(self.trunk.channels),) * 2
        )
        self.output = nn.Dense(2 * self.num_points, kernel_init=kernel_init, bias_init=bias_init)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> Float[Array, "B {self.num_points} 2"]:
        """Normalised square images [B, S, S, 3] -> points [B, P, 2]: (x, y) in pixels, float32.

        The 2P numbers of an image are scaled jointly: the smallest becomes 0, the largest S - 1.
        """
        features = self.features(images, train).mean((1, 2), dtype=wide(self.dtype))
        numbers = self.output(self.drop(features, deterministic=not train))
        low, high = numbers.min(-1, keepdims=True), numbers.max(-1, keepdims=True)
        points = (numbers - low) / jnp.maximum(high - low, 1e-12) * (images.shape[1] - 1)
        return points.reshape(-1, self.num_points, 2)

    def features(self, images: Float[ArrayLike, "B S S 3"], train: bool) -> Float[Array, "B s s C"]:
        """The trunk's grid [B, ceil(S / 32), ceil(S / 32), 160]."""
        return self.trunk(images, train)


def _grid(key, shape, dtype=jnp.float32):
    """Initial (x, y) of the points, one after the other, in rows of a square grid in [-1, 1]."""
    side = math.ceil(math.sqrt(shape[0] // 2))
    steps = np.linspace(-1, 1, side)
    points = np.stack([np.tile(steps, side), np.repeat(steps, side)], -1)
    return jnp.asarray(points.reshape(-1)[: shape[0]], dtype)
