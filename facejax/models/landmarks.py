"""The network that says where in a face to look, trained through the patches that are cut there."""

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from facejax.models.mobilenet import MobileNetV3


class LandmarkNetwork(nn.Module):
    """Finds points of a face without having seen labelled ones (Part fViT, arXiv:2212.00057, section 3.2).

    It starts with the points on a regular grid, the same for every image, as spatial transformers start from the
    identity (arXiv:1506.02025). Points that start at random places of each image soon stop to look at it.

    Attributes:
      num_points: P.
      dropout: rate before the last layer; training needs the random stream `dropout` unless it is 0.
      dtype: type of the trunk's computation; the points are float32.
    """

    num_points: int = 196
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        """Declares trunk and last layer."""
        self.trunk = MobileNetV3(self.dtype)
        self.output = nn.Dense(2 * self.num_points, kernel_init=nn.initializers.zeros, bias_init=_grid)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, images, train: bool):
        """Normalised square images [B, S, S, 3] -> points [B, P, 2]: (x, y) in pixels, float32.

        The 2P numbers of an image are scaled together: the smallest becomes 0, the largest S - 1.
        """
        features = self.features(images, train).mean((1, 2), dtype=jnp.float32)
        numbers = self.output(self.drop(features, deterministic=not train))
        low, high = numbers.min(-1, keepdims=True), numbers.max(-1, keepdims=True)
        points = (numbers - low) / jnp.maximum(high - low, 1e-12) * (images.shape[1] - 1)
        return points.reshape(-1, self.num_points, 2)

    def features(self, images, train: bool):
        """The trunk's grid [B, ceil(S / 32), ceil(S / 32), 160]."""
        return self.trunk(images, train)


def _grid(key, shape, dtype=jnp.float32):
    """Initial (x, y) of the points, one after the other, in rows of a square grid in [-1, 1]."""
    side = math.ceil(math.sqrt(shape[0] // 2))
    steps = np.linspace(-1, 1, side)
    points = np.stack([np.tile(steps, side), np.repeat(steps, side)], -1)
    return jnp.asarray(points.reshape(-1)[: shape[0]], dtype)
