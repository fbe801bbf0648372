"""Crops and resizing on the device: drawn as in torchvision, resampled as in Pillow.

Images are padded: each is in the top left corner of a square, and `sizes` holds its valid (height, width), because a
jitted function needs static shapes. Nothing outside the valid extent is ever read.
"""

import jax
import jax.numpy as jnp

from facejax.errors import UserError

TRIES = 10  # torchvision's


def random_boxes(key, sizes, *, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3)):
    """Draw the box of torchvision's `RandomResizedCrop` for each image.

    Ten areas, uniform in `scale` times that of the image, and ten aspect ratios, log-uniform in `ratio`, are drawn; the
    first box that fits is placed uniformly. If none fits, the box is the largest central one whose aspect
    ratio is within `ratio`.

    Args:
      key: random key; an image's box depends on it and on the image's index only.
      sizes: valid height and width of each image, int [N, 2].
      scale: smallest and largest fraction of the area.
      ratio: smallest and largest width / height.

    Returns:
      Top, left, height, width: int32 [N, 4].
    """
    height, width = sizes[:, 0].astype(jnp.int32), sizes[:, 1].astype(jnp.int32)
    draws = jax.random.uniform(key, (len(sizes), 2 * TRIES + 2))  # one call, as each costs compile time
    draws, corner_draw = jnp.split(draws, (2 * TRIES,), axis=1)
    box_width, box_height = propose_sides(draws, (height * width)[:, None], scale=scale, ratio=ratio)
    fits = (box_width > 0) & (box_width <= width[:, None]) & (box_height > 0) & (box_height <= height[:, None])

    narrow, wide = width < ratio[0] * height, width > ratio[1] * height
    central_height = jnp.where(narrow, jnp.round(width / ratio[0]).astype(jnp.int32), height)
    central_width = jnp.where(wide, jnp.round(height * ratio[1]).astype(jnp.int32), width)

    any_fits = fits.any(axis=1)
    box_height = jnp.where(any_fits, first_of(box_height, fits), central_height)
    box_width = jnp.where(any_fits, first_of(box_width, fits), central_width)
    room = jnp.stack([height - box_height, width - box_width], axis=1)
    drawn = jnp.floor(corner_draw * (room + 1)).astype(jnp.int32)
    corner = jnp.where(any_fits[:, None], drawn, room // 2)
    return jnp.concatenate([corner, box_height[:, None], box_width[:, None]], axis=1)


def propose_sides(draws, area, *, scale, ratio):
    """Sides of `TRIES` boxes per image, drawn as in torchvision for crops and for erasing.

    Args:
      draws: uniform in [0, 1), [N, 2 TRIES].
      area: of the whole image, a number or [N, 1].
      scale: smallest and largest fraction of it.
      ratio: smallest and largest first side / second side, which is log-uniform.

    Returns:
      First and second sides, int32 [N, TRIES] each; they need not fit into the image.
    """
    area_draw, ratio_draw = jnp.split(draws, 2, axis=1)
    area = area * (scale[0] + (scale[1] - scale[0]) * area_draw)
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** ratio_draw
    sides = jnp.sqrt(area * aspect), jnp.sqrt(area / aspect)
    return tuple(jnp.round(side).astype(jnp.int32) for side in sides)


def first_of(values, fits):
    """The first of the values [N, TRIES] of each image that fits, [N]; an arbitrary one where none fits."""
    return jnp.take_along_axis(values, jnp.argmax(fits, axis=1)[:, None], axis=1)[:, 0]


def crop_and_resize(images, boxes, *, size, method="bilinear", mirrored=None):
    """Cut a box out of each image and resample it, like Pillow's `image.crop(box).resize((size, size))`.

    The filter is stretched where the box shrinks (antialiasing) and cut off and renormalised at the box's border. Each
    direction, width first, is one batched matrix product with per-image weights; there is no gather. Nothing is rounded
    to eight bits, as Pillow does after *each* direction. `Precision.HIGH` is enough: it rounds factors to 11 bits on
    GPUs and to 16 on TPUs, so its error is at most half a step of one such rounding.

    Args:
      images: uint8, or float in [0, 1]: [N, H, W, C].
      boxes: top, left, height, width, within the image: [N, 4], whole numbers or not.
      size: side of the result, pixels.
      method: "bilinear", or "bicubic" (a = -0.5, clipped to [0, 1]).
      mirrored: which of the results are flipped left to right, bool [N]; None: none.

    Returns:
      float32 [N, size, size, C], in [0, 1].

    Raises:
      UserError: the method is neither.
    """
    if method not in FILTERS:
        raise UserError(f"resampling method {method!r} of a view is unknown; choose one of {', '.join(FILTERS)}")
    top, left, height, width = boxes.T.astype(jnp.float32)
    rows = _weights(top, height, size, images.shape[1], method)
    columns = _weights(left, width, size, images.shape[2], method)
    if mirrored is not None:
        columns = jnp.where(mirrored[:, None, None], columns[:, ::-1], columns)
    images = as_float(images)
    images = jnp.einsum("nxw,nhwc->nhxc", columns, images, precision=jax.lax.Precision.HIGH)
    if method == "bicubic":  # overshoots; Pillow clips between the directions too
        images = jnp.clip(images, 0.0, 1.0)
    images = jnp.einsum("nyh,nhxc->nyxc", rows, images, precision=jax.lax.Precision.HIGH)
    return jnp.clip(images, 0.0, 1.0)


def resize(images, sizes, *, size, method="bilinear"):
    """Resample the whole valid extent of each image to a square.

    Args:
      images: uint8, or float in [0, 1]: [N, H, W, C].
      sizes: valid height and width of each image, int [N, 2].
      size: side of the result, pixels.
      method: "bilinear" or "bicubic".

    Returns:
      float32 [N, size, size, C], in [0, 1].
    """
    return crop_and_resize(images, whole_boxes(sizes), size=size, method=method)


def whole_boxes(sizes):
    """Boxes [N, 4] of the whole valid extents [N, 2]."""
    return jnp.concatenate([jnp.zeros_like(sizes), sizes], axis=1)


def as_float(images):
    """Convert uint8 0..255 to float32 0..1; floats are returned unchanged."""
    return images.astype(jnp.float32) / 255.0 if images.dtype == jnp.uint8 else images


def _weights(start, length, size, source, method):
    """Weight of each source pixel in each resampled pixel: [N, size, source]."""
    scale = (length / size)[:, None]
    centre = start[:, None] + (jnp.arange(size) + 0.5) * scale
    pixel = jnp.arange(source) + 0.5
    distance = (pixel - centre[..., None]) / jnp.maximum(scale, 1.0)[..., None]
    weights = FILTERS[method](jnp.abs(distance))
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])
    weights = jnp.where(inside[:, None], weights, 0.0)
    return weights / weights.sum(-1, keepdims=True)


def _triangle(x):
    return jnp.maximum(1.0 - x, 0.0)


def _cubic(x):
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return jnp.where(x < 1.0, near, jnp.where(x < 2.0, far, 0.0))


FILTERS = {"bilinear": _triangle, "bicubic": _cubic}
