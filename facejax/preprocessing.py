"""Preprocessing of images for a network: stored with its weights, and applied by `Encoder` itself."""

from typing import Annotated, Literal

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from facejax.data import images

Positive = Annotated[float, Field(gt=0)]
Triple = tuple[float, float, float]
Side = Annotated[int, Field(ge=1, le=4096)]
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Preprocessing:
    """Converts images of any size to inputs of a network: fitted to a square on the host, normalised on the device.

    Attributes:
      size: S, side of the square, pixels.
      fit: "squash": resized to S x S whatever the aspect ratio, as in the evaluations of training; "crop": the shorter
        side is resized to S / `crop_fraction`, then the centre S x S is cut out, as in torchvision and timm.
      crop_fraction: for `fit="crop"`.
      interpolation: "area": pixels are averaged where an axis shrinks, and interpolated linearly where it grows;
        "bilinear" and "bicubic" are Pillow's, antialiased.
      value_range: the range that pixel values 0 to 255 are mapped to, before mean and deviation.
      mean: of each channel, subtracted.
      std: of each channel, by which the result is divided.
      channel_order: of the network's input; images are always RGB.

    Examples:
      >>> preprocessing = Preprocessing(size=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
      >>> square = preprocessing.fit_to_square(np.full((6, 8, 3), 255, np.uint8))
      >>> square.shape, float(preprocessing.normalize(square[None]).max())
      ((4, 4, 3), 1.0)
    """

    size: Side
    fit: Literal["squash", "crop"] = "squash"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["area", "bilinear", "bicubic"] = "area"
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def fit_to_square(self, image: np.ndarray) -> np.ndarray:
        """An image uint8 [H, W, 3] as the square uint8 [S, S, 3]; a square of side S is returned unchanged."""
        height, width = image.shape[:2]
        if height == width == self.size:
            return image
        if self.fit == "squash":
            return self._resize(image, self.size, self.size)
        shorter = round(self.size / self.crop_fraction)
        scale = shorter / min(height, width)
        # torchvision truncates fractions of a pixel
        height, width = (shorter if side == min(height, width) else int(scale * side) for side in (height, width))
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return self._resize(image, height, width)[top : top + self.size, left : left + self.size]

    def locate(self, points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Where points of squares are in the images that `fit_to_square` made them of.

        Args:
          points: (x, y) in pixels from the middle of the first one, [N, P, 2].
          sizes: height and width of the images, [N, 2].

        Returns:
          float64 [N, P, 2], in pixels of the images.
        """
        sizes = np.asarray(sizes)
        resized, start = np.full(sizes.shape, self.size), 0
        if self.fit == "crop":
            whole = (sizes == self.size).all(1, keepdims=True)
            shorter = round(self.size / self.crop_fraction)
            resized = np.where(whole, self.size, (shorter / sizes.min(1, keepdims=True) * sizes).astype(int))
            resized = np.where(~whole & (sizes == sizes.min(1, keepdims=True)), shorter, resized)
            start = np.round((resized - self.size) / 2)[:, None, ::-1]
        scale = (sizes / resized)[:, None, ::-1]
        return (np.asarray(points, np.float64) + start + 0.5) * scale - 0.5

    def _resize(self, image, height, width):
        if self.interpolation != "area":
            return np.asarray(Image.fromarray(image).resize((width, height), FILTERS[self.interpolation]))
        if height == width:
            return images.squash(image, height)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def normalize(self, squares) -> jax.Array:
        """Inputs of a network, float32 [N, S, S, 3], from squares [N, S, S, 3] with values 0 to 255; can be jitted."""
        low, high = self.value_range
        x = jnp.asarray(squares).astype(jnp.float32) / 255
        if (low, high) != (0, 1):
            x = low + (high - low) * x
        if self.channel_order == "bgr":
            x = x[..., ::-1]
        if (self.mean, self.std) == ((0.0,) * 3, (1.0,) * 3):
            return x
        return (x - jnp.array(self.mean, x.dtype)) / jnp.array(self.std, x.dtype)
