"""Random erasing: rectangles of images are replaced by a constant."""

import jax
import jax.numpy as jnp

from facejax.data.crops import TRIES, first_of, propose_sides


def random_erasing(key, images, *, probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0):
    """Erase one rectangle of each chosen image, drawn as in torchvision's `RandomErasing`.

    Zhong et al., arXiv:1708.04896. Ten areas, uniform in `scale` times that of the image, and ten aspect ratios,
    log-uniform in `ratio`, are drawn; the first rectangle smaller than the image is placed uniformly. If there is none,
    the image is unchanged.

    Args:
      key: random key.
      images: float [N, H, W, C].
      probability: that an image is chosen.
      scale: smallest and largest fraction of the area.
      ratio: smallest and largest height / width.
      value: of the erased pixels.

    Returns:
      float [N, H, W, C].
    """
    count, height, width, _ = images.shape
    draws = jax.random.uniform(key, (count, 2 * TRIES + 3))  # one call, as each costs compile time
    draws, rest = jnp.split(draws, (2 * TRIES,), axis=1)
    tall, wide = propose_sides(draws, height * width, scale=scale, ratio=ratio)
    fits = (tall < height) & (wide < width)
    tall, wide = first_of(tall, fits), first_of(wide, fits)
    top = jnp.floor(rest[:, 0] * (height - tall + 1))
    left = jnp.floor(rest[:, 1] * (width - wide + 1))
    chosen = fits.any(axis=1) & (rest[:, 2] < probability)

    def covered(start, length, size):
        pixel = jnp.arange(size)
        return (pixel >= start[:, None]) & (pixel < (start + length)[:, None])

    erased = chosen[:, None, None] & covered(top, tall, height)[:, :, None] & covered(left, wide, width)[:, None]
    return jnp.where(erased[..., None], value, images)
