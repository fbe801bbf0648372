"""Pictures to look at: contact sheets, regions over faces, PNG files."""

import math
from collections.abc import Sequence

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facejax.files import write_atomically

# Okabe and Ito's palette, told apart by colour-blind people too; grey in the place of its black.
PALETTE = np.array(
    [
        (230, 159, 0),  # orange
        (86, 180, 233),  # sky blue
        (0, 158, 115),  # bluish green
        (240, 228, 66),  # yellow
        (0, 114, 178),  # blue
        (213, 94, 0),  # vermilion
        (204, 121, 167),  # reddish purple
        (153, 153, 153),  # grey
    ],
    np.float32,
)
OPACITY = 0.75  # of a region that is certain: the face stays visible


def region_colors(count: int) -> np.ndarray:
    """Distinct colours for regions, float32 [count, 3] in 0..255: the palette, then paler and darker rounds of it.

    Example:
      >>> region_colors(2)
      array([[230., 159.,   0.],
             [ 86., 180., 233.]], dtype=float32)
    """
    rounds = math.ceil(count / len(PALETTE))
    blends = [(target, weight) for weight in (0.5, 0.75) for target in (255, 0)]  # from colour towards white, black
    shades = [PALETTE] + [PALETTE * (1 - weight) + target * weight for target, weight in blends]
    return np.concatenate([shades[i % len(shades)] for i in range(max(rounds, 1))])[:count].astype(np.float32)


def enlarge(images, factor: int):
    """Images [N, H, W, C], of NumPy or JAX, with each pixel as a square: [N, factor H, factor W, C]."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def overlay_regions(images, heatmaps) -> jax.Array:
    """Lays the most probable region of each place over the image, in its colour, the more opaque the more certain.

    The heatmaps are enlarged bilinearly and scaled so that they sum to 1 over the regions. Confidence runs from 0 (all
    regions equally probable: the bare image) to 1 (one region only: `OPACITY`). NumPy arrays and jit both do.

    Args:
      images: uint8 [N, H, W, 3].
      heatmaps: [N, Q, h, w], not negative; region q has colour q of `region_colors`.

    Returns:
      uint8 [N, H, W, 3].
    """
    num, regions = heatmaps.shape[:2]
    height, width = images.shape[1:3]
    heatmaps = jax.image.resize(jnp.asarray(heatmaps, jnp.float32), (num, regions, height, width), "bilinear")
    share = heatmaps.max(1) / jnp.maximum(heatmaps.sum(1), 1e-12)
    confidence = jnp.clip((share - 1 / regions) / (1 - 1 / regions), 0, 1) if regions > 1 else share
    alpha = OPACITY * confidence[..., None]
    colors = jnp.asarray(region_colors(regions))[heatmaps.argmax(1)]
    mixed = (1 - alpha) * jnp.asarray(images, jnp.float32) + alpha * colors
    return jnp.clip(jnp.round(mixed), 0, 255).astype(jnp.uint8)


def sheet(rows: Sequence[Sequence], *, captions: Sequence[Sequence[str]] = (), gutter: int = 4) -> np.ndarray:
    """A contact sheet: rows of images on white, with gutters, each image over its caption.

    Args:
      rows: rows of uint8 images [h, w, 3] (an array [N, h, w, 3] is a row). Cells are as large as the largest image;
        smaller ones stand in the middle. Rows may differ in length.
      captions: rows of texts, as many as there are images; what is too long for its cell ends in an ellipsis.
        The font has ASCII only.
      gutter: pixels between cells and around them.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: no image, one that is not uint8 [h, w, 3], or captions that do not match the images.
    """
    rows = [[np.asarray(image) for image in row] for row in rows]
    images = [image for row in rows for image in row]
    if not images or any(image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 for image in images):
        raise ValueError("a sheet needs at least one image, all uint8 [h, w, 3]")
    if captions and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ValueError("a sheet needs as many captions as images in every row")
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    font = ImageFont.load_default(max(10, min(height // 8, 16)))
    line = sum(font.getmetrics()) + 2 if captions else 0
    step_y, step_x = height + line + gutter, width + gutter
    canvas = np.full((gutter + len(rows) * step_y, gutter + max(map(len, rows)) * step_x, 3), 255, np.uint8)
    corners = [[(gutter + r * step_y, gutter + c * step_x) for c in range(len(row))] for r, row in enumerate(rows)]
    for row, places in zip(rows, corners, strict=True):
        for image, (top, left) in zip(row, places, strict=True):
            y, x = top + (height - image.shape[0]) // 2, left + (width - image.shape[1]) // 2
            canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    if not captions:
        return canvas
    page = Image.fromarray(canvas)
    draw = ImageDraw.Draw(page)
    for row, places in zip(captions, corners, strict=True):
        for text, (top, left) in zip(row, places, strict=True):
            text = _shortened(text, font, width)
            draw.text((left + (width - font.getlength(text)) / 2, top + height + 1), text, fill=(40, 40, 40), font=font)
    return np.asarray(page)


def write_png(path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] (RGB) as PNG; whoever reads sees the old file or the new one, never a part.

    Folders on the way are made. `path` may be a URL.

    Raises:
      UserError: the file cannot be written.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a PNG is written from uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_atomically(path, encoded.tobytes())


def _shortened(text, font, width):
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
