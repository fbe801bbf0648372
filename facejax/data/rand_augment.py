"""RandAugment on the device, in the "increasing" form of timm that LAFS fine-tunes with, without solarisation.

Cubuk et al., arXiv:1909.13719. Images are float32 [N, H, W, 3] in [0, 1]; the operations are Pillow's without its
rounding to eight bits, except for those that count grey levels (equalise, posterise). As in timm, each operation
resamples bilinearly or bicubically at random.
"""

import jax
import jax.numpy as jnp

from facejax.data import photometry

MAX_LEVEL = 10.0
FILL = 128 / 255  # value outside of the image
OPERATIONS = (
    "auto_contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "color",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


def rand_augment(key, images, *, magnitude, magnitude_std=0.5, num_operations=2, probability=0.5):
    """Apply `num_operations` operations to each image, each drawn from `OPERATIONS` and applied with `probability`.

    Args:
      key: random key.
      images: float32 [N, H, W, 3] in [0, 1].
      magnitude: mean strength, 0 to 10.
      magnitude_std: its standard deviation, drawn for every operation.
      num_operations: operations per image, drawn with replacement.
      probability: that an operation is applied.

    Returns:
      float32 [N, H, W, 3] in [0, 1].
    """
    count = len(images)

    def one_round(images, key):
        which_key, level_key, sign_key, done_key, bicubic_key = jax.random.split(key, 5)
        which = jax.random.randint(which_key, (count,), 0, len(OPERATIONS))
        level = magnitude + magnitude_std * jax.random.normal(level_key, (count,))
        level = jnp.clip(level, 0, MAX_LEVEL) / MAX_LEVEL
        sign = jax.random.rademacher(sign_key, (count,), jnp.float32)
        done = jax.random.bernoulli(done_key, probability, (count,))
        bicubic = jax.random.bernoulli(bicubic_key, 0.5, (count,))
        return jnp.where(done[:, None, None, None], apply(images, which, level, sign, bicubic), images), None

    return jax.lax.scan(one_round, images, jax.random.split(key, num_operations))[0]


def apply(images, which, level, sign, bicubic):
    """Apply one operation to each image.

    Args:
      images: float32 [N, H, W, 3] in [0, 1].
      which: index into `OPERATIONS`, int [N].
      level: strength in [0, 1], [N]; ignored by the first three operations.
      sign: 1 or -1, the direction of operations that have one, [N].
      bicubic: whether geometric operations resample bicubically instead of bilinearly, bool [N].

    Returns:
      float32 [N, H, W, 3] in [0, 1].
    """
    factor = 1 + sign * 0.9 * level
    changed = {
        "auto_contrast": auto_contrast(images),
        "equalize": equalize(images),
        "invert": 1 - images,
        "posterize": posterize(images, 4 - jnp.floor(4 * level).astype(jnp.int32)),
        "color": photometry.adjust_saturation(images, factor),
        "contrast": photometry.adjust_contrast(images, factor),
        "brightness": photometry.adjust_brightness(images, factor),
        "sharpness": adjust_sharpness(images, factor),
    }
    geometric = affine(images, _matrices(which, sign * level, *images.shape[1:3]), bicubic)
    result = images
    for index, name in enumerate(OPERATIONS):
        result = jnp.where((which == index)[:, None, None, None], changed.get(name, geometric), result)
    return result


def _matrices(which, amount, height, width):
    """Matrices [N, 2, 3] for `affine` of the geometric operations; the identity for the others."""
    zero = jnp.zeros_like(amount)

    def amount_of(name):
        return jnp.where(which == OPERATIONS.index(name), amount, 0)

    angle = jnp.deg2rad(30 * amount_of("rotate"))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    centre_x, centre_y = width / 2, height / 2
    x = jnp.stack([cosine, -sine + 0.3 * amount_of("shear_x"), zero], -1)
    y = jnp.stack([sine + 0.3 * amount_of("shear_y"), cosine, zero], -1)
    # Rotation is about the centre, shear and translation are from the corner.
    x = x.at[:, 2].set(centre_x - cosine * centre_x + sine * centre_y + 0.45 * width * amount_of("translate_x"))
    y = y.at[:, 2].set(centre_y - sine * centre_x - cosine * centre_y + 0.45 * height * amount_of("translate_y"))
    return jnp.stack([x, y], 1)


def affine(images, matrices, bicubic):
    """Resample: the pixel with centre (x, y) is the image at matrices @ (x, y, 1), as in Pillow's affine transform.

    Args:
      images: float32 [N, H, W, C] in [0, 1].
      matrices: [N, 2, 3].
      bicubic: resample bicubically (with a = -1, as in Pillow) instead of bilinearly; bool [N].

    Returns:
      float32 [N, H, W, C] in [0, 1], with `FILL` outside of the image.
    """
    _, height, width, _ = images.shape
    column, row = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    places = jnp.stack([column, row, jnp.ones_like(row)], -1)
    places = jnp.einsum("hwk,njk->njhw", places, matrices, precision=jax.lax.Precision.HIGHEST)
    x, y = places[:, 0], places[:, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    left, top = jnp.floor(x - 0.5), jnp.floor(y - 0.5)
    across, down = (_taps(place, bicubic[:, None, None]) for place in (x - 0.5 - left, y - 0.5 - top))
    columns = [jnp.clip(left + step, 0, width - 1).astype(jnp.int32) for step in (-1, 0, 1, 2)]
    rows = [jnp.clip(top + step, 0, height - 1).astype(jnp.int32) for step in (-1, 0, 1, 2)]

    pick = jax.vmap(lambda image, row, column: image[row, column])
    lines = [
        sum(weight[..., None] * pick(images, row, column) for weight, column in zip(across, columns, strict=True))
        for row in rows
    ]
    resampled = sum(weight[..., None] * line for weight, line in zip(down, lines, strict=True))
    return jnp.where(inside[..., None], jnp.clip(resampled, 0, 1), FILL)


def _taps(fraction, bicubic):
    """Weights of the pixels at -1, 0, 1 and 2 for a position between 0 and 1."""
    squared, cubed = fraction**2, fraction**3
    cubic = (
        -fraction + 2 * squared - cubed,
        1 - 2 * squared + cubed,
        fraction + squared - cubed,
        cubed - squared,
    )
    linear = (0, 1 - fraction, fraction, 0)
    return [jnp.where(bicubic, weight, other) for weight, other in zip(cubic, linear, strict=True)]


def auto_contrast(images):
    """Stretch each channel to [0, 1]; a constant channel is unchanged (`PIL.ImageOps.autocontrast`)."""
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    return jnp.where(high > low, (images - low) / jnp.where(high > low, high - low, 1), images)


def equalize(images):
    """Give each channel a flat histogram of 256 levels (`PIL.ImageOps.equalize`)."""
    levels = jnp.round(images * 255).astype(jnp.int32)

    def channel(levels):
        histogram = jnp.bincount(levels.reshape(-1), length=256)
        last = histogram[jnp.max(levels)]
        step = (levels.size - last) // 255
        below = jnp.cumsum(histogram) - histogram
        table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table, jnp.arange(256))[levels]

    over_channels = jax.vmap(channel, in_axes=-1, out_axes=-1)
    return jax.vmap(over_channels)(levels) / 255


def posterize(images, bits):
    """Keep the first `bits` (int [N]) of eight (`PIL.ImageOps.posterize`)."""
    step = 2 ** (8 - bits)[:, None, None, None]
    levels = jnp.round(images * 255).astype(jnp.int32)
    return levels // step * step / 255


def adjust_sharpness(images, factor):
    """Blend with the smoothed image: 0 is smooth, 1 the image, larger is sharper (`PIL.ImageEnhance.Sharpness`).

    The smoothing is the mean over 3x3 pixels with weight 5 for the centre; the border of the image is unchanged.
    """
    _, height, width, _ = images.shape
    total = sum(images[:, dy : height - 2 + dy, dx : width - 2 + dx] for dy in range(3) for dx in range(3))
    smooth = images.at[:, 1:-1, 1:-1].set((total + 4 * images[:, 1:-1, 1:-1]) / 13)
    factor = jnp.reshape(factor, (-1, 1, 1, 1))
    return jnp.clip(factor * images + (1 - factor) * smooth, 0, 1)
