"""The views that STAR trains on: a face turned, scaled, shifted and mirrored, its landmarks with it, then disturbed.

Source: the official code of STAR (Zhou et al., CVPR 2023, arXiv:2306.02763), whose augmentation is ADNet's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.data import photometry, warp

MIRRORED = {  # of the points of a data set: those that change places in a mirror
    "300w": (
        *((i, 16 - i) for i in range(8)),
        *((i, 43 - i) for i in range(17, 22)),
        (31, 35), (32, 34),
        (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
        (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
    ),
    "wflw": (
        *((i, 32 - i) for i in range(16)),
        *((33 + i, 46 - i) for i in range(5)),
        *((38 + i, 50 - i) for i in range(4)),
        (55, 59), (56, 58),
        *((60 + i, 72 - i) for i in range(5)),
        (65, 75), (66, 74), (67, 73),
        (76, 82), (77, 81), (78, 80), (83, 87), (84, 86),
        (88, 92), (89, 91), (93, 95), (96, 97),
    ),
    "cofw": (
        (0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23),
    ),
}  # fmt: skip


def mirror_order(name: str, num_points: int) -> np.ndarray:
    """Which point takes the place of each in a mirror: int [P]; for a key of `MIRRORED`."""
    order = np.arange(num_points)
    for left, right in MIRRORED[name]:
        order[[left, right]] = right, left
    return order


class Placement(NamedTuple):
    """How each of N faces lies in its view."""

    mirrored: jax.Array  # bool [N]
    shift: jax.Array  # [N, 2], over the side of the view
    angle: jax.Array  # [N], radians, clockwise
    scale: jax.Array  # [N]


def draw_placement(key, count: int, *, flip, shift, rotation, scale) -> Placement:
    """Draw how faces are to lie.

    Args:
      key: random key.
      count: N.
      flip: probability of a mirror image.
      shift: standard deviation along x and y, over the side of the view.
      rotation: standard deviation, degrees.
      scale: standard deviation around 1.
    """
    flip_key, draw_key = jax.random.split(key)
    x, y, angle, larger = jax.random.normal(draw_key, (4, count))
    return Placement(
        jax.random.bernoulli(flip_key, flip, (count,)),
        shift * jnp.stack([x, y], -1),
        jnp.deg2rad(rotation) * angle,
        jnp.maximum(1 + scale * larger, 0.1),  # as good as never: 0 has no inverse
    )


def place(images, sizes, landmarks, placement: Placement, *, size: int, side: float, mirror: Sequence[int]):
    """Cut the square around the middle out of each image, placed as was drawn.

    Args:
      images: float32 [N, S, S, 3], each in the top left corner of its square.
      sizes: valid height and width of each image, int [N, 2].
      landmarks: (x, y) in pixels from the corner, [N, P, 2].
      placement: see `draw_placement`.
      size: side of the result, pixels.
      side: of the square that is cut out, over the shorter side of the image.
      mirror: see `mirror_order`.

    Returns:
      images float32 [N, size, size, 3], 0 where there was no image; landmarks [N, P, 2].
    """
    height, width = jnp.asarray(sizes, jnp.float32).T
    mirrored = placement.mirrored[:, None, None]
    reflected = jnp.stack([width[:, None] - landmarks[..., 0], landmarks[..., 1]], -1)
    landmarks = jnp.where(mirrored, reflected[:, np.asarray(mirror)], landmarks)
    angle, scale = placement.angle, placement.scale * size / (side * jnp.minimum(height, width))
    start, end = jnp.stack([width, height], -1) / 2, size * (0.5 + placement.shift)
    landmarks = warp.move(landmarks, warp.similarity(angle, scale, start, end))
    back = warp.similarity(-angle, 1 / scale, end, start)
    reflection = back * jnp.array([-1.0, 1.0])[:, None] + jnp.pad(width[:, None, None], ((0, 0), (0, 1), (2, 0)))
    return warp.warp(images, jnp.where(mirrored, reflection, back), size=size), landmarks


def disturb(key, images, *, occlusion, blur, gamma, noise, grey):
    """Hide a part, blur, darken or lighten, add noise, take the colours away: each with its probability, in this order.

    Args:
      key: random key.
      images: float32 [N, S, S, 3] in [0, 1].
      occlusion: probability of a black rectangle, 0.1 to 0.4 of the image high and up to 0.2 wider or narrower.
      blur: probability that squares of up to 0.05 of the image a side are averaged.
      gamma: probability of a power from 0.25 to 1 or, as often, from 1 to 4.
      noise: probability that noise, uniform in [0, 1], is mixed in with a weight of up to 0.5.
      grey: probability that colours are lost.

    Returns:
      float32 [N, S, S, 3] in [0, 1].
    """
    chosen_key, draw_key, noise_key = jax.random.split(key, 3)
    count, size = len(images), images.shape[1]
    probabilities = jnp.array((occlusion, blur, gamma, noise, grey))
    hidden, blurred, bent, noisy, greyed = (jax.random.uniform(chosen_key, (count, 5)) < probabilities).T
    draws = jax.random.uniform(draw_key, (count, 8)).T
    if occlusion:
        images = jnp.where((hidden[:, None, None] & _rectangle(draws[:4], size))[..., None], 0, images)
    if blur:
        taps = jnp.maximum(jnp.floor(0.05 * draws[4] * size).astype(jnp.int32), 1)
        taps = jnp.where(blurred, taps, 1)
        images = photometry.box_blur(images, taps, max_taps=max(int(0.05 * size), 1))
    if gamma:
        power = jnp.where(draws[5] < 0.5, 0.25 + 1.5 * draws[5], 1 + 6 * (draws[5] - 0.5))
        images = photometry.adjust_gamma(images, jnp.where(bent, power, 1))
    if noise:
        weight = jnp.where(noisy, 0.5 * draws[6], 0)[:, None, None, None]
        images = (1 - weight) * images + weight * jax.random.uniform(noise_key, images.shape)
    return jnp.where(greyed[:, None, None, None], photometry.grey(images), images) if grey else images


def _rectangle(draws, size: int):
    """Which pixels a random rectangle covers, bool [N, size, size]; draws [4, N] are uniform."""
    height = 0.2 + 0.6 * draws[0]
    width = height - 0.2 + 0.4 * draws[1]
    pixel = jnp.arange(size)

    def covered(extent, middle):
        reach, middle = jnp.floor(jnp.floor(size / 2 * extent) / 2), jnp.floor((size - 1) * middle)
        return jnp.abs(pixel - middle[:, None]) <= reach[:, None]

    return covered(height, draws[2])[:, :, None] & covered(width, draws[3])[:, None, :]
