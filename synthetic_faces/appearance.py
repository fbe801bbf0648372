"""Appearance of surfaces: colours, noise, and patterns of hair, cloth, hat, mask and background.

Colours are linear RGB as arrays [3, ...]; a soft edge is as wide as a pixel, so nothing is jagged.
Coordinates are those of `geometry`.
"""

import jax
import jax.numpy as jnp

from synthetic_faces.geometry import bump, smoothstep, wave

REGIONS = ("background", "skin", "brows", "eyes", "nose", "mouth", "hair", "beard", "ears", "neck", "clothes", "hat",
           "glasses", "occluder")  # fmt: skip
REGION = {name: index for index, name in enumerate(REGIONS)}


def edge(distance, pixel):
    """Coverage 0..1 of a pixel `pixel` wide whose centre is `distance` inside an edge."""
    return jnp.clip(0.5 + distance / pixel, 0.0, 1.0)


def colour(c, like):
    """A colour [3] as [3, 1, ...] to go with arrays shaped as `like`."""
    return jnp.asarray(c).reshape((3,) + (1,) * like.ndim)


def mix(a, b, w):
    """`a` where w = 0, `b` where w = 1."""
    return a + (b - a) * w


def _hash(i, j):
    n = i.astype(jnp.uint32) * jnp.uint32(374761393) + j.astype(jnp.uint32) * jnp.uint32(668265263)
    n = (n ^ (n >> 13)) * jnp.uint32(1274126177)
    return ((n ^ (n >> 16)) & jnp.uint32(0xFFFF)).astype(jnp.float32) / 65535.0


def noise(x, y):
    """Smooth value noise in 0..1 with cells of size 1."""
    i, j = jnp.floor(x), jnp.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = i.astype(jnp.int32), j.astype(jnp.int32)
    top = mix(_hash(i, j), _hash(i + 1, j), u)
    return mix(top, mix(_hash(i, j + 1), _hash(i + 1, j + 1), u), v)


def unit(v):
    """`v` [3, ...] at length 1."""
    return v * jax.lax.rsqrt(jnp.sum(v * v, axis=0, keepdims=True) + 1e-12)


def dot(a, b):
    """Scalar product over the first axis."""
    return jnp.sum(a * b, axis=0)


def paint_mask(g, p, pixel):
    """Coverage [N] and colour [3, N] of a medical mask over nose and mouth."""
    x, y, z = p
    s = jnp.abs(x)
    top = -2.2 - 0.10 * s * s * 0.35 + 0.25 * bump(s / 1.6)
    bottom = g["chin_y"] - 0.9 + 0.05 * s * s
    cover = edge(jnp.minimum(jnp.minimum(top - y, y - bottom), (7.2 - s) * 0.8), pixel) * smoothstep(2.0, 2.6, z)
    strap = (
        edge(0.16 - jnp.minimum(jnp.abs(y + 2.6 - 0.55 * (3.0 - z)), jnp.abs(y + 8.0 + 1.1 * (2.0 - z))), pixel)
        * (s > 5.5)
        * (z < 3.2)
        * (z > -0.5)
    )
    pleats = 1.0 - 0.16 * bump((y * 0.55 - jnp.round(y * 0.55)) / 0.2)
    return g["mask"] * jnp.maximum(cover, strap), colour(g["mask_colour"], x) * pleats


def hair_strands(g, p):
    """Locks and strands of hair at points `p`, two arrays [N] in -0.5..0.5."""
    x, y, z = p
    tex, curl = g["texture"], g["hair_curl"]
    around = jnp.arctan2(x - 0.8 * g["hair_shift"], z + 3.0 - 0.25 * jnp.maximum(y - 6.0, 0.0))
    around = around + (0.03 + 0.35 * curl) * wave(0.07 * y + tex[0] + 0.5 * wave(0.05 * x))
    locks = noise(around * 8.0 + tex[0], y * (0.08 + 0.6 * curl)) - 0.5
    return locks, noise(around * 24.0, y * (0.14 + 0.9 * curl) + tex[1]) - 0.5


def paint_hair(g, p, strands, normal):
    """Colour [3, N] of hair and the normal [3, N] with its strands."""
    x, _, z = p
    locks, fine = strands
    sideways = unit(jnp.stack([z + 3.0, jnp.zeros_like(x), -x]))
    normal = unit(normal + sideways * (0.55 * locks + 0.40 * fine))
    return colour(g["hair"], x) * (1.0 + 0.8 * locks + 0.6 * fine), normal


def paint_cloth(g, p):
    """Colour [3, N] of the clothes."""
    x, y, _ = p
    stripes = g["cloth_stripes"] * smoothstep(-0.2, 0.2, wave(y * 0.35))
    return mix(colour(g["cloth"], x), colour(g["cloth_b"], x), stripes)


def paint_hat(g, p):
    """Colour [3, N] of the hat."""
    x, y, z = p
    edge_y = g["hat_y"] + 0.16 * (z - 8.0)
    band = smoothstep(1.9, 1.7, y - edge_y)
    rib = 1.0 + 0.10 * wave(jnp.arctan2(x, z + 1.0) * 5.0) * (1.0 - g["brim"])
    return mix(colour(g["hat_colour"], x), colour(g["hat_b"], x), band) * rib


def background(g, u, v):
    """Colour [3, N] of the background, out of focus; `u`, `v` in -1..1 across the image."""
    along = u * g["back_direction"][0] + v * g["back_direction"][1]
    c = mix(colour(g["back_a"], u), colour(g["back_b"], u), smoothstep(-1.1, 1.1, along))
    third = colour(g["back_c"], u)
    c = mix(c, third, g["back_stripes"] * (0.5 + 0.5 * wave(along * g["back_frequency"])))
    for i in range(g["back_blobs"].shape[1]):
        bx, by, r, strength = (g["back_blobs"][k, i] for k in range(4))
        d = jnp.sqrt((u - bx) ** 2 + (v - by) ** 2)
        c = mix(c, third if i % 2 else colour(g["back_b"], u) * 1.2, strength * smoothstep(r, 0.6 * r, d))
    return c * (1.0 - 0.18 * (u * u + v * v))
