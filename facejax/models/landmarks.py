"""The network that says where in a face to look, trained through the patches that are cut there."""

import jax.numpy as jnp
from flax import linen as nn

from facejax.models.mobilenet import MobileNetV3


class LandmarkNetwork(nn.Module):
    """Finds points of a face without having seen labelled ones (Part fViT, arXiv:2212.00057, section 3.2).

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
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        self.output = nn.Dense(2 * self.num_points, kernel_init=init)
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
