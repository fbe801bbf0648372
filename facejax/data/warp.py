"""Similarities of the plane, and images and points under them, on the device.

Coordinates are (x, y) in pixels from the image's corner: the middle of the first pixel is (0.5, 0.5).
"""

import jax
import jax.numpy as jnp


def similarity(angle, scale, start, end):
    """The map that turns and scales around `start`, then moves it to `end`.

    Args:
      angle: clockwise, in radians, [N].
      scale: factor on lengths, [N].
      start: [N, 2].
      end: [N, 2].

    Returns:
      float32 [N, 2, 3]. The inverse is `similarity(-angle, 1 / scale, end, start)`.
    """
    cosine, sine = scale * jnp.cos(angle), scale * jnp.sin(angle)
    turn = jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], -2)
    return jnp.concatenate([turn, (end - _times(turn, start[:, None])[:, 0])[..., None]], -1)


def move(points, matrices):
    """Points [N, P, 2] under matrices [N, 2, 3]."""
    return _times(matrices[..., :2], points) + matrices[:, None, :, 2]


def _times(matrices, points):
    return jnp.einsum("nij,npj->npi", matrices, points, precision=jax.lax.Precision.HIGHEST)


def warp(images, matrices, *, size: int):
    """Resample: the pixel of the result with its middle at q is the image at matrices @ q, bilinearly; 0 beyond it.

    Args:
      images: float32 [N, H, W, C].
      matrices: from the result to the image, [N, 2, 3].
      size: side of the result.

    Returns:
      float32 [N, size, size, C].
    """
    count, height, width, channels = images.shape
    middle = jnp.arange(size) + 0.5
    pixels = jnp.stack(jnp.meshgrid(middle, middle), -1).reshape(1, -1, 2)
    x, y = jnp.moveaxis(move(jnp.broadcast_to(pixels, (count, *pixels.shape[1:])), matrices) - 0.5, -1, 0)
    left, top = jnp.floor(x), jnp.floor(y)
    flat, total = images.reshape(count, height * width, channels), 0
    for column, across in ((left, left + 1 - x), (left + 1, x - left)):
        for row, down in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = (row.clip(0, height - 1) * width + column.clip(0, width - 1)).astype(jnp.int32)
            share = jnp.where(inside, across * down, 0)
            total += share[..., None] * jnp.take_along_axis(flat, place[..., None], axis=1)
    return total.reshape(count, size, size, channels)


MOVES = ("shift", "shift_probability", "rotation", "rotation_probability")  # arguments of `shift_and_turn`


def shift_and_turn(key, images, *, shift, shift_probability, rotation, rotation_probability):
    """Shift images and turn them around their middle, each with its probability; black comes in.

    Args:
      key: random key.
      images: float32 [N, S, S, C].
      shift: largest shift along each axis, over the side.
      shift_probability: of an image to be shifted.
      rotation: largest angle, degrees.
      rotation_probability: of an image to be turned, after it was shifted.

    Returns:
      float32 [N, S, S, C].
    """
    count, size = len(images), images.shape[1]
    chosen_key, draw_key = jax.random.split(key)
    shifted, turned = jax.random.uniform(chosen_key, (2, count))
    x, y, angle = jax.random.uniform(draw_key, (3, count), minval=-1.0, maxval=1.0)
    angle = jnp.where(turned < rotation_probability, jnp.deg2rad(rotation) * angle, 0)
    moved = jnp.where(shifted[:, None] < shift_probability, shift * size * jnp.stack([x, y], -1), 0)
    middle = jnp.full((count, 2), size / 2)
    return warp(images, similarity(-angle, jnp.ones(count), middle, middle - moved), size=size)
