"""Cuts patches out of images around given points, and puts patches together.

The official code of Part fViT samples with a half-pixel shift, and the first axis of its patches runs along x. Released
weights depend on both, so this geometry is the default: element (i, j) of a patch of side s around (px, py) is the
image at x = px + i - s/2 - 1/2, y = py + j - s/2 - 1/2. The geometry "upright" has neither shift nor transposition: y =
py + i - s/2, x = px + j - s/2.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.models.precision import wide

GEOMETRIES = ("official", "upright")


def sample_patches(
    images: Float[ArrayLike, "B H W C"], points: Float[ArrayLike, "B P 2"], *, size: int = 8, geometry: str = "official"
) -> Float[Array, "B P {size}*{size}*C"]:
    """Sample a patch around each point bilinearly, with zeros outside of the image.

    Differentiable in images and points. Interpolation is separable and a patch steps by whole pixels: one gather takes
    windows of (size + 1)^2 pixels for all points and images, and two weighted sums of neighbours interpolate them.

    Args:
      images: float [B, H, W, C].
      points: (x, y) in pixels, anywhere: float [B, P, 2].
      size: side of a patch, even.
      geometry: a key of `GEOMETRIES`; see above.

    Returns:
      Patches flattened as (i, j, channel): float32 [B, P, size * size * C].

    Examples:
      >>> image = jnp.arange(64.0).reshape(1, 8, 8, 1)
      >>> sample_patches(image, jnp.array([[[4.0, 4.0]]]), size=2, geometry="upright")
      Array([[[27., 28., 35., 36.]]], dtype=float32)
    """
    if geometry == "official":
        images, points, shift = images.swapaxes(1, 2), points.astype(wide(points.dtype)), 0.5
    else:
        images, points, shift = images, points.astype(wide(points.dtype))[..., ::-1], 0.0
    # From here on patch and image have the same axes, and a point is (first, second).
    margin = size + 1
    padded = jnp.pad(images.astype(wide(images.dtype)), ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    corner = points - size / 2 - shift
    base = jnp.floor(jax.lax.stop_gradient(corner))
    fraction = corner - base
    extent = jnp.array(images.shape[1:3])
    # Windows beyond the margin read zeros inside it.
    start = jnp.clip(base.astype(jnp.int32) + margin, 0, extent + margin)

    def window(image, at):
        return jax.lax.dynamic_slice(image, (at[0], at[1], 0), (margin, margin, image.shape[-1]))

    windows = jax.vmap(jax.vmap(window, in_axes=(None, 0)))(padded, start)
    first, second = fraction[..., :1, None, None], fraction[..., 1:, None, None]
    windows = (1 - first) * windows[:, :, :-1] + first * windows[:, :, 1:]
    windows = (1 - second) * windows[:, :, :, :-1] + second * windows[:, :, :, 1:]
    return windows.reshape(*windows.shape[:2], -1)


def grid_patches(images: Float[ArrayLike, "B H W C"], *, size: int = 8) -> Float[ArrayLike, "B P {size}*{size}*C"]:
    """Cut images [B, H, W, C] into a regular grid of patches, flattened as (row, column, channel): [B, P, size^2 C]."""
    batch, height, width, channels = images.shape
    rows, columns = height // size, width // size
    patches = images.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
    return patches.reshape(batch, rows * columns, size * size * channels)


def mosaic(
    patches: Float[ArrayLike, "B P length"], *, size: int = 8, geometry: str = "upright"
) -> Float[ArrayLike, "B H H C"]:
    """Tile patches [B, P, size^2 C], with P a square number: images [B, sqrt(P) size, sqrt(P) size, C].

    The inverse of `grid_patches`. With the geometry "official" each patch is transposed, so x runs to the right.
    """
    batch, count, length = patches.shape
    side, channels = math.isqrt(count), length // size**2
    patches = patches.reshape(batch, side, side, size, size, channels)
    if geometry == "official":
        patches = patches.swapaxes(3, 4)
    return patches.swapaxes(2, 3).reshape(batch, side * size, side * size, channels)
