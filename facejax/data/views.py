"""Random views of faces, made on the device inside the training step.

All functions are pure, static in shape and batched; the draws of an image depend only on the key and on
its index in the batch, not on the other images or the sharding.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from facejax.data import crops, photometry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distortion:
    """Changes of the colours and sharpness of an image, in this order.

    Attributes:
      jitter: strengths of brightness, contrast, saturation and hue; their order is drawn for the batch.
      jitter_probability: that an image is jittered.
      grey_probability: that an image loses its colours.
      blur_radius: smallest and largest standard deviation of the Gaussian blur, pixels.
      blur_probability: that an image is blurred.
      blur_taps: length of the blur's kernel; None: out to three times the largest radius.
      blur_padding: "edge" or "reflect".
      solarize_probability: that an image is inverted where it is 128/255 or brighter.
      gradient_probability: that an image is replaced by the magnitude of its gradient.
    """

    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    jitter_probability: float = 0.0
    grey_probability: float = 0.0
    blur_radius: tuple[float, float] = (0.1, 2.0)
    blur_probability: float = 0.0
    blur_taps: int | None = None
    blur_padding: str = "edge"
    solarize_probability: float = 0.0
    gradient_probability: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class View(Distortion):
    """A random view: crop, flip, distort, normalise.

    Attributes (besides those of `Distortion`):
      size: side of the view, pixels.
      crop_scale: smallest and largest fraction of the area of a random resized crop; None resizes the whole image.
      crop_ratio: smallest and largest width / height of the crop.
      method: "bilinear" or "bicubic".
      flip: probability of a left-right flip.
      mean: of each channel in [0, 1], subtracted last; None leaves the view in [0, 1].
      std: of each channel, by which the result is divided.
    """

    size: int
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    method: str = "bilinear"
    flip: float = 0.5
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def make_view(key, images, sizes, recipe: View):
    """Make one random view of each image.

    Args:
      key: random key.
      images: uint8 [N, S, S, 3], each in the top left corner of its square.
      sizes: valid height and width of each image, int [N, 2].
      recipe: of the views.

    Returns:
      float32 [N, size, size, 3].

    Examples:
      >>> recipe = View(size=224, crop_scale=(0.2, 1.0), jitter_probability=0.8, blur_probability=1.0)
      >>> images, sizes = jnp.zeros((2, 256, 256, 3), jnp.uint8), jnp.array([[256, 192], [171, 256]])
      >>> make_view(jax.random.key(0), images, sizes, recipe).shape
      (2, 224, 224, 3)
    """
    *_, distort_key = jax.random.split(key, 3)  # `crop` takes the other two
    views = distort(distort_key, crop(key, images, sizes, recipe), recipe)
    return views if recipe.mean is None else photometry.normalize(views, recipe.mean, recipe.std)


def crop(key, images, sizes, recipe: View):
    """The first half of `make_view`: crop and flip; float32 [N, size, size, 3] in [0, 1]."""
    crop_key, flip_key, _ = jax.random.split(key, 3)
    if recipe.crop_scale is None:
        boxes = crops.whole_boxes(sizes)
    else:
        boxes = crops.random_boxes(crop_key, sizes, scale=recipe.crop_scale, ratio=recipe.crop_ratio)
    mirrored = jax.random.bernoulli(flip_key, recipe.flip, (len(images),)) if recipe.flip else None
    return crops.crop_and_resize(images, boxes, size=recipe.size, method=recipe.method, mirrored=mirrored)


def distort(key, images, recipe: Distortion):
    """Distort colours and sharpness at random; changes with probability 0 are not compiled.

    Args:
      key: random key.
      images: float32 [N, H, W, 3] in [0, 1].
      recipe: of the changes.

    Returns:
      float32 [N, H, W, 3] in [0, 1] (a gradient may exceed 1).
    """
    amounts_key, radius_key, chosen_key = jax.random.split(key, 3)
    count = len(images)
    probabilities = (
        recipe.jitter_probability,
        recipe.grey_probability,
        recipe.blur_probability,
        recipe.solarize_probability,
        recipe.gradient_probability,
    )
    chosen = jax.random.uniform(chosen_key, (count, len(probabilities))) < jnp.array(probabilities)
    jittered, greyed, blurred, solarized, edged = chosen.T
    if recipe.jitter_probability:
        amounts, order = photometry.draw_jitter(amounts_key, count, recipe.jitter)
        images = _replace(images, jittered, photometry.color_jitter(images, amounts, order))
    if recipe.grey_probability:
        images = _replace(images, greyed, photometry.grey(images))
    if recipe.blur_probability:
        radius = jax.random.uniform(radius_key, (count,), minval=recipe.blur_radius[0], maxval=recipe.blur_radius[1])
        taps = recipe.blur_taps or 2 * math.ceil(3 * recipe.blur_radius[1]) + 1
        radius = jnp.where(blurred, radius, 0.0)
        images = photometry.gaussian_blur(images, radius, taps=taps, padding=recipe.blur_padding)
    if recipe.solarize_probability:
        images = _replace(images, solarized, photometry.solarize(images))
    if recipe.gradient_probability:
        images = _replace(images, edged, photometry.gradient_magnitude(images))
    return images


def _replace(images, chosen, changed):
    """The changed image where it was chosen [N], otherwise the original."""
    return jnp.where(chosen[:, None, None, None], changed, images)
