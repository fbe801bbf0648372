"""Changes of the colours and sharpness of views, on the device.

Images are float32 [N, H, W, 3], red, green, blue in [0, 1]; an amount is a scalar or one number per image, [N]. The
formulas are Pillow's, which torchvision's build on, without the rounding to eight bits after each step.
"""

import jax
import jax.numpy as jnp

from facejax.errors import UserError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def grey(images):
    """Luma of ITU-R 601, like Pillow's mode L, in all three channels."""
    return jnp.broadcast_to(_luma(images), images.shape)


def adjust_brightness(images, factor):
    """Blend with black: 0 is black, 1 the image, larger is brighter (`PIL.ImageEnhance.Brightness`)."""
    return jnp.clip(images * _per_image(factor), 0.0, 1.0)


def adjust_contrast(images, factor):
    """Blend with the mean luma of the image (`PIL.ImageEnhance.Contrast`, which rounds this mean to eight bits)."""
    count, height, width, _ = images.shape
    share = jnp.tile(jnp.array(_LUMA, images.dtype), height * width) / (height * width)
    # One product with a vector: on CPUs ten times faster than a reduction over an axis of three.
    mean = jnp.matmul(images.reshape(count, -1), share, precision=jax.lax.Precision.HIGHEST)
    return _blend(_per_image(mean), images, factor)


def adjust_saturation(images, factor):
    """Blend with the grey image (`PIL.ImageEnhance.Color`)."""
    return _blend(_luma(images), images, factor)


def adjust_hue(images, shift):
    """Rotate the hue in HSV by a fraction of the full circle (`shift` in [-0.5, 0.5]), like torchvision."""
    red, green, blue = images[..., :1], images[..., 1:2], images[..., 2:]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
    # Compare channels with each other, not with `value`: a compiler may compute an image twice, rounded differently.
    hue = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) * scale,
        jnp.where(green >= blue, 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale),
    )
    hue = hue / 6.0 + _per_image(shift)
    # A channel is at its largest within a sixth of the circle around its own hue, and at its smallest from a third on.
    distance = hue - jnp.arange(3.0) / 3.0
    distance = 6.0 * jnp.abs(distance - jnp.round(distance))
    return value - chroma * jnp.clip(distance - 1.0, 0.0, 1.0)


_ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def color_jitter(images, amounts, order):
    """Change brightness, contrast, saturation and hue, in an order common to the batch.

    Args:
      images: float32 [N, H, W, 3].
      amounts: factors of brightness, contrast and saturation, and shift of the hue: [4, N].
      order: a permutation of 0..3 (0 is brightness, ..., 3 is hue): int [4].

    Returns:
      float32 [N, H, W, 3].
    """

    def adjust(images, step):
        return jax.lax.switch(step[0], _ADJUSTMENTS, images, step[1]), None

    return jax.lax.scan(adjust, images, (order, jnp.take(amounts, order, axis=0)))[0]


def draw_jitter(key, count, strengths):
    """Draw amounts [4, count] and order [4] for `color_jitter`, like torchvision's `ColorJitter`.

    Args:
      key: random key.
      count: number of images.
      strengths: of brightness, contrast, saturation and hue: a factor is uniform in [max(0, 1 - s), 1 + s], the
        shift of the hue in [-s, s].
    """
    order_key, amounts_key = jax.random.split(key)
    brightness, contrast, saturation, hue = strengths
    low = jnp.array([*(max(0.0, 1.0 - s) for s in (brightness, contrast, saturation)), -hue], jnp.float32)
    high = jnp.array([*(1.0 + s for s in (brightness, contrast, saturation)), hue], jnp.float32)
    amounts = jax.random.uniform(amounts_key, (count, 4), minval=low, maxval=high).T
    return amounts, jax.random.permutation(order_key, 4)


def gaussian_blur(images, sigma, *, taps, padding="edge"):
    """Blur each image with its own Gaussian, sampled at the pixels.

    `PIL.ImageFilter.GaussianBlur(radius=sigma)` approximates the same Gaussian by three box filters.

    Args:
      images: float32 [N, H, W, C].
      sigma: standard deviation in pixels, [N]; 0 leaves the image unchanged.
      taps: length of the kernel, odd.
      padding: beyond the border, "edge" repeats the last pixel (as in Pillow), "reflect" mirrors the image without
        the border pixel (as in torchvision).

    Returns:
      float32 [N, H, W, C].

    Raises:
      UserError: the number of taps is even.
    """
    if taps % 2 == 0:
        raise UserError(f"a blur of {taps} taps has no centre; choose an odd number")
    reach = taps // 2
    offset = jnp.arange(-reach, reach + 1)
    sigma = jnp.broadcast_to(sigma, len(images))
    kernel = jnp.exp(-0.5 * jnp.square(offset / jnp.maximum(sigma, 1e-3)[:, None]))
    kernel = kernel / kernel.sum(1, keepdims=True)
    shape, flat = images.shape, (*images.shape[:2], -1)
    # Pixels and channels share one axis, so the shifted sums run over contiguous numbers and vectorise.
    rows = jnp.pad(images.reshape(flat), ((0, 0), (reach, reach), (0, 0)), mode=padding)
    images = _weighted_shifts(rows, kernel, axis=1, step=1).reshape(shape)
    columns = jnp.pad(images, ((0, 0), (0, 0), (reach, reach), (0, 0)), mode=padding).reshape(flat)
    return _weighted_shifts(columns, kernel, axis=2, step=shape[3]).reshape(shape)


def box_blur(images, taps, *, max_taps: int):
    """Average squares of `taps` pixels a side, with the image mirrored beyond its border (`cv2.blur`).

    Args:
      images: float32 [N, H, W, C].
      taps: int [N]; 1 leaves the image as it is.
      max_taps: the largest of them, below twice the image's height and width.

    Returns:
      float32 [N, H, W, C].
    """
    before, after = max_taps // 2, (max_taps - 1) // 2
    offset, first = jnp.arange(-before, after + 1), -(taps // 2)[:, None]
    kernel = ((offset >= first) & (offset < first + taps[:, None])) / taps[:, None]
    shape, flat, around = images.shape, (*images.shape[:2], -1), (before, after)
    rows = jnp.pad(images.reshape(flat), ((0, 0), around, (0, 0)), mode="reflect")
    images = _weighted_shifts(rows, kernel, axis=1, step=1).reshape(shape)
    columns = jnp.pad(images, ((0, 0), (0, 0), around, (0, 0)), mode="reflect").reshape(flat)
    return _weighted_shifts(columns, kernel, axis=2, step=shape[3]).reshape(shape)


def adjust_gamma(images, gamma):
    """Raise every channel to a power; above 1 is darker."""
    return jnp.maximum(images, 0.0) ** _per_image(gamma)


def solarize(images, threshold=128 / 255):
    """Invert what is at or above the threshold (`PIL.ImageOps.solarize`)."""
    return jnp.where(images < threshold, images, 1.0 - images)


def gradient_magnitude(images):
    """Replace each image by the magnitude of its luma's gradient, in all three channels (PCL, arXiv 2211.13490).

    sqrt(dx^2 + dy^2 + 1e-6) with central differences, without the factor 1/2 and with zeros beyond the border. The luma
    here is that of the official code, (65.738 r + 129.057 g + 25.064 b) / 256.
    """
    luma = _luma(images, (65.738 / 256, 129.057 / 256, 25.064 / 256))
    padded = jnp.pad(luma, ((0, 0), (1, 1), (1, 1), (0, 0)))
    dy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    dx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    return jnp.broadcast_to(jnp.sqrt(dx * dx + dy * dy + 1e-6), images.shape)


def normalize(images, mean, std):
    """Subtract the mean and divide by the standard deviation of each channel."""
    return (images - jnp.array(mean, images.dtype)) / jnp.array(std, images.dtype)


def _luma(images, weights=_LUMA):
    """Weighted sum of the channels, [N, H, W, 1]."""
    return sum(weight * images[..., channel : channel + 1] for channel, weight in enumerate(weights))


def _weighted_shifts(padded, kernel, axis, step):
    """Sum of the [N, A, B] array at shifts of 0, step, 2 step, ... along an axis, weighted by kernel [N, taps]."""
    taps = kernel.shape[1]
    length = padded.shape[axis] - (taps - 1) * step
    return sum(
        jax.lax.slice_in_dim(padded, tap * step, tap * step + length, axis=axis) * kernel[:, tap, None, None]
        for tap in range(taps)
    )


def _blend(degenerate, images, factor):
    factor = _per_image(factor)
    return jnp.clip(factor * images + (1.0 - factor) * degenerate, 0.0, 1.0)


def _per_image(amount):
    """Shape a scalar or [N] so that it broadcasts over [N, H, W, C]."""
    return jnp.reshape(amount, (-1, 1, 1, 1))
