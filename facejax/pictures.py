"""Pictures to look at: contact sheets, regions over faces, PNG files."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facejax.files import write_atomically

# Okabe and Ito's palette, which colour-blind people can distinguish; with grey instead of black.
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
OPACITY = 0.75  # of a region that is certain, so the face stays visible
LEGIBLE = 96  # minimum side of a face, pixels
INK = (40, 40, 40)
Color = tuple[float, float, float]  # red, green and blue, 0 to 255


def region_colors(count: int) -> np.ndarray:
    """Distinct colours for regions, float32 [count, 3] in 0..255: the palette, then paler and darker versions of it.

    Examples:
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
    """Draws the most probable region of each pixel over the image in its colour, more opaque where it is more certain.

    The heatmaps are enlarged bilinearly and scaled so that they sum to 1 over the regions. Confidence runs from 0 (all
    regions equally probable: the bare image) to 1 (one region only: `OPACITY`). Works with NumPy arrays and under jit.

    Args:
      images: uint8 [N, H, W, 3].
      heatmaps: [N, Q, h, w], non-negative; region q has colour q of `region_colors`.

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


class Caption(NamedTuple):
    """Explanations of a picture that is drawn of each face."""

    label: str = ""  # above a row with a square for each face: what it shows
    columns: tuple[str, ...] = ()  # above strips of several squares for each face: what each square shows
    legend: tuple[tuple[str, Color], ...] = ()  # meaning of the colours


def legible(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Rows of images, each enlarged by an integer factor to about the size of the largest, and at least to `LEGIBLE`.

    Args:
      rows: arrays [N, h, w, 3].
    """
    largest = max(row.shape[1] for row in rows)
    factors = [max(largest // row.shape[1], math.ceil(LEGIBLE / min(row.shape[1:3]))) for row in rows]
    return [enlarge(row, factor) for row, factor in zip(rows, factors, strict=True)]


def sheet(
    rows: Sequence[Sequence],
    *,
    labels: Sequence[str] = (),
    columns: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    legend: Sequence[tuple[str, Color]] = (),
    gutter: int = 4,
) -> np.ndarray:
    """A contact sheet: rows of images on white, with gutters. Long texts are wrapped.

    Args:
      rows: rows of uint8 images [h, w, 3] (an array [N, h, w, 3] is a row). Cells are as large as the largest image;
        smaller ones are centred. Rows may differ in length.
      labels: texts, one above each row.
      columns: texts, one above each column.
      captions: rows of texts, one below each image.
      legend: names and colours (0 to 255), at the bottom of the sheet.
      gutter: pixels between cells and around them.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: no image, one that is not uint8 [h, w, 3], or texts that do not match the images.
    """
    rows = [[np.asarray(image) for image in row] for row in rows]
    images = [image for row in rows for image in row]
    if not images or any(image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 for image in images):
        raise ValueError("a sheet needs at least one image, all uint8 [h, w, 3]")
    if captions and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ValueError("a sheet needs as many captions as images in every row")
    if labels and len(labels) != len(rows):
        raise ValueError("a sheet needs as many labels as rows")
    across = max(map(len, rows))
    if columns and len(columns) != across:
        raise ValueError("a sheet needs as many texts over its columns as there are columns")
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    font = ImageFont.load_default(max(10, min(height // 8, 16)))
    page = gutter + across * (width + gutter)
    lefts = [gutter + column * (width + gutter) for column in range(across)]
    gap = np.full((gutter, page, 3), 255, np.uint8)

    def centred(texts):
        return _text(page, font, [(left, width, text) for left, text in zip(lefts, texts, strict=False)], centre=True)

    strips = [gap]
    if columns:
        strips.append(centred(columns))
    for index, row in enumerate(rows):
        if labels:
            strips.append(_text(page, font, [(gutter, page - 2 * gutter, labels[index])]))
        band = np.full((height, page, 3), 255, np.uint8)
        for image, left in zip(row, lefts, strict=False):
            y, x = (height - image.shape[0]) // 2, left + (width - image.shape[1]) // 2
            band[y : y + image.shape[0], x : x + image.shape[1]] = image
        strips.append(band)
        if captions:
            strips.append(centred(captions[index]))
        strips.append(gap)
    if legend:
        strips += [_legend(page, font, legend, gutter), gap]
    return np.concatenate(strips)


def write_png(path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] (RGB) as PNG; readers see the complete old file or the complete new one.

    Missing folders are created. `path` may be a URL.

    Raises:
      UserError: the file cannot be written.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a PNG is written from uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_atomically(path, encoded.tobytes())


def _wrapped(text: str, font, width: int) -> list[str]:
    """Lines that fit, broken between words where possible."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        while len(longer) > 1 and font.getlength(longer) > width:  # a single word
            fits = max(1, next(n for n in range(len(longer), -1, -1) if font.getlength(longer[:n]) <= width))
            lines.append(longer[:fits])
            longer = longer[fits:]
        line = longer
    return [*lines, line]


def _text(page: int, font, cells, *, centre: bool = False) -> np.ndarray:
    """A strip `page` pixels wide with a text in each cell (left, width, text)."""
    wrapped = [(left, width, _wrapped(text, font, width)) for left, width, text in cells]
    step = sum(font.getmetrics()) + 2
    strip = Image.new("RGB", (page, step * max(len(lines) for *_, lines in wrapped)), "white")
    draw = ImageDraw.Draw(strip)
    for left, width, lines in wrapped:
        for index, line in enumerate(lines):
            x = left + (width - font.getlength(line)) / 2 if centre else left
            draw.text((x, index * step + 1), line, fill=INK, font=font)
    return np.asarray(strip)


def _legend(page: int, font, entries, gutter: int) -> np.ndarray:
    """A strip `page` pixels wide: a square of each colour and its name, in as many lines as needed."""
    size, step = font.getmetrics()[0], sum(font.getmetrics()) + 2
    places, x, y = [], gutter, 0
    for name, _ in entries:
        extent = size + 4 + math.ceil(font.getlength(name))
        if x > gutter and x + extent > page - gutter:
            x, y = gutter, y + step
        places.append((x, y))
        x += extent + 12
    strip = Image.new("RGB", (page, y + step), "white")
    draw = ImageDraw.Draw(strip)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        draw.rectangle([x, y + 2, x + size - 1, y + size + 1], fill=tuple(int(channel) for channel in color))
        draw.text((x + size + 4, y + 1), name, fill=INK, font=font)
    return np.asarray(strip)
