"""Random views of faces, made on the device inside the training step.

All functions are pure, static in shape and batched; each image has its own draws, which depend on the key and the
image's index in the batch only, neither on its companions nor on the sharding.
"""

import math

import jax
import jax.numpy as jnp

from facejax.data import crops, photometry


def make_view(
    key,
    images,
    sizes,
    *,
    size,
    crop_scale=None,
    crop_ratio=(3 / 4, 4 / 3),
    method="bilinear",
    flip=0.5,
    mean=None,
    std=None,
    **distortion,
):
    """Make one random view of each image: crop, flip, distort, normalise.

    Args:
      key: random key.
      images: uint8 [N, S, S, 3], each in the top left corner of its square.
      sizes: valid height and width of each image, int [N, 2].
      size: side of the view, pixels.
      crop_scale: smallest and largest share of the area of a random resized crop; None resizes the whole image.
      crop_ratio: smallest and largest width / height of the crop.
      method: "bilinear" or "bicubic".
      flip: probability of a left-right flip.
      mean: of each channel in [0, 1], subtracted last; None leaves the view in [0, 1].
      std: of each channel, divided by after that.
      **distortion: arguments of `distort`.

    Returns:
      float32 [N, size, size, 3].

    Example:
      >>> recipe = dict(crop_scale=(0.2, 1.0), jitter_probability=0.8, grey_probability=0.2, blur_probability=1.0)
      >>> images, sizes = jnp.zeros((2, 256, 256, 3), jnp.uint8), jnp.array([[256, 192], [171, 256]])
      >>> make_view(jax.random.key(0), images, sizes, size=224, **recipe).shape
      (2, 224, 224, 3)
    """
    crop_key, flip_key, distort_key = jax.random.split(key, 3)
    if crop_scale is None:
        boxes = crops.whole_boxes(sizes)
    else:
        boxes = crops.random_boxes(crop_key, sizes, scale=crop_scale, ratio=crop_ratio)
    mirrored = jax.random.bernoulli(flip_key, flip, (len(images),)) if flip else None
    views = crops.crop_and_resize(images, boxes, size=size, method=method, mirrored=mirrored)
    views = distort(distort_key, views, **distortion)
    return views if mean is None else photometry.normalize(views, mean, std)


def distort(
    key,
    images,
    *,
    jitter=(0.4, 0.4, 0.2, 0.1),
    jitter_probability=0.0,
    grey_probability=0.0,
    blur_radius=(0.1, 2.0),
    blur_probability=0.0,
    blur_taps=None,
    blur_padding="edge",
    solarize_probability=0.0,
    gradient_probability=0.0,
):
    """Distort colours and sharpness at random, in this order; what has probability 0 is not compiled.

    Args:
      key: random key.
      images: float32 [N, H, W, 3] in [0, 1].
      jitter: strengths of brightness, contrast, saturation and hue; their order is drawn for the batch.
      jitter_probability: of an image to be jittered.
      grey_probability: of an image to lose its colours.
      blur_radius: smallest and largest standard deviation of the Gaussian blur, pixels.
      blur_probability: of an image to be blurred.
      blur_taps: length of the blur's kernel; None reaches three times the largest radius.
      blur_padding: "edge" or "reflect".
      solarize_probability: of an image to be inverted where it is 128/255 or brighter.
      gradient_probability: of an image to become the size of its gradient.

    Returns:
      float32 [N, H, W, 3] in [0, 1] (a gradient may exceed 1).
    """
    amounts_key, radius_key, chosen_key = jax.random.split(key, 3)
    count = len(images)
    probabilities = (jitter_probability, grey_probability, blur_probability, solarize_probability, gradient_probability)
    chosen = jax.random.uniform(chosen_key, (count, len(probabilities))) < jnp.array(probabilities)
    jittered, greyed, blurred, solarized, edged = chosen.T
    if jitter_probability:
        amounts, order = photometry.draw_jitter(amounts_key, count, jitter)
        images = _replace(images, jittered, photometry.color_jitter(images, amounts, order))
    if grey_probability:
        images = _replace(images, greyed, photometry.grey(images))
    if blur_probability:
        radius = jax.random.uniform(radius_key, (count,), minval=blur_radius[0], maxval=blur_radius[1])
        taps = blur_taps or 2 * math.ceil(3 * blur_radius[1]) + 1
        radius = jnp.where(blurred, radius, 0.0)
        images = photometry.gaussian_blur(images, radius, taps=taps, padding=blur_padding)
    if solarize_probability:
        images = _replace(images, solarized, photometry.solarize(images))
    if gradient_probability:
        images = _replace(images, edged, photometry.gradient_magnitude(images))
    return images


def _replace(images, chosen, changed):
    """Take the changed image where it was chosen [N]."""
    return jnp.where(chosen[:, None, None, None], changed, images)
