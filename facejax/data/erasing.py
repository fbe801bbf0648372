"""Random erasing: rectangles of images painted over."""

import jax
import jax.numpy as jnp

_TRIES = 10  # torchvision's


def random_erasing(key, images, *, probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0):
    """Paint over one rectangle of each chosen image, drawn as torchvision's `RandomErasing` draws it.

    Zhong et al., arXiv:1708.04896. Ten times an area, uniform in `scale` times that of the image, and an aspect ratio,
    log-uniform in `ratio`, are drawn; the first rectangle smaller than the image is placed uniformly. If none is, the
    image stays.

    Args:
      key: random key.
      images: float [N, H, W, C].
      probability: of an image to be chosen.
      scale: smallest and largest share of the area.
      ratio: smallest and largest height / width.
      value: what is painted.

    Returns:
      float [N, H, W, C].
    """
    count, height, width, _ = images.shape
    draws = jax.random.uniform(key, (count, 2 * _TRIES + 3))  # one call, as each costs compile time
    area_draw, ratio_draw, rest = jnp.split(draws, (_TRIES, 2 * _TRIES), axis=1)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * area_draw)
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** ratio_draw
    tall = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    wide = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (tall < height) & (wide < width)
    first = jnp.argmax(fits, axis=1)[:, None]
    tall, wide = (jnp.take_along_axis(side, first, axis=1)[:, 0] for side in (tall, wide))
    top = jnp.floor(rest[:, 0] * (height - tall + 1))
    left = jnp.floor(rest[:, 1] * (width - wide + 1))
    chosen = fits.any(axis=1) & (rest[:, 2] < probability)

    def covered(start, length, size):
        pixel = jnp.arange(size)
        return (pixel >= start[:, None]) & (pixel < (start + length)[:, None])

    erased = chosen[:, None, None] & covered(top, tall, height)[:, :, None] & covered(left, wide, width)[:, None]
    return jnp.where(erased[..., None], value, images)
