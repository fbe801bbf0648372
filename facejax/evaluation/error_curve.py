"""The cumulative error curve of face alignment as a picture."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facejax.evaluation import alignment
from facejax.pictures import INK, region_colors

WIDTH, HEIGHT = 640, 420
LEFT, TOP, RIGHT, BOTTOM = 52, 16, 16, 46  # margins
TICKS = 5
LINE = 26  # pixels of a line of the legend
GRID = (225, 225, 225)
CAPTION = "normalised mean error, and the fraction of faces with at most that error"


def draw(curves: Mapping[str, np.ndarray], limit: float) -> np.ndarray:
    """The fraction of images with at most each error.

    Args:
      curves: name -> normalised errors [N]; the legend has their means.
      limit: the largest error that is drawn.

    Returns:
      uint8 [420, 640, 3].
    """
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)

    def at(error, share):
        x = LEFT + np.asarray(error) / limit * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - np.asarray(share) * (HEIGHT - TOP - BOTTOM)

    for tick in np.linspace(0, 1, TICKS + 1):
        (x, y), (left, top), (right, bottom) = at(tick * limit, tick), at(0, 1), at(limit, 0)
        pen.line([left, y, right, y], GRID)
        pen.line([x, top, x, bottom], GRID)
        pen.text((left - 6, y), f"{tick:.0%}", INK, font, "rm")
        pen.text((x, bottom + 6), f"{tick * limit:.3g}", INK, font, "mt")
    pen.text((WIDTH / 2, HEIGHT - 8), CAPTION, INK, font, "mb")
    for row, ((name, errors), color) in enumerate(zip(curves.items(), region_colors(len(curves)), strict=True)):
        color = tuple(int(channel) for channel in color)
        places, shares = alignment.curve(errors, limit)
        pen.line(np.stack(at(places, shares), -1).ravel().tolist(), color, width=3)
        x, y = WIDTH - RIGHT - 220, HEIGHT - BOTTOM - LINE * (len(curves) - row)
        pen.rectangle([x, y, x + 14, y + 14], color)
        pen.text((x + 22, y + 7), f"{name}: {100 * errors.mean():.2f} % of {len(errors)}", INK, font, "lm")
    return np.asarray(canvas)
