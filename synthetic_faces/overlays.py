"""Objects between camera and face: glasses, a hand, a card."""

import jax.numpy as jnp

from synthetic_faces.appearance import REGION, colour, dot, edge, mix
from synthetic_faces.geometry import bump, smoothstep

_HAND = (  # wrist, palm, four fingers, thumb: start, end, radius
    (0.0, -22.0, 0.0, -6.5, 3.3),
    (-1.1, -6.0, 1.1, -6.0, 3.4),
    (-3.3, -4.0, -3.9, 2.2, 0.92),
    (-1.2, -3.0, -1.4, 4.0, 0.98),
    (0.95, -3.0, 1.15, 3.6, 0.95),
    (2.9, -4.0, 3.6, 1.6, 0.85),
    (-3.4, -8.0, -6.3, -3.4, 1.1),
)


def glasses(g, ray, t_surface, pixel, radiance, region):
    """Draws glasses over the picture: lenses in two planes, bent at the bridge, temples as lines to the ears."""
    half_w, half_h, roundness = g["lens"]
    centre_x, centre_y = g["eye_x"] + 0.15, -0.25
    z0 = 9.75 + 0.5 * g["nose_bridge"] + 0.3 * g["brow_ridge"]
    width = g["frame_width"]
    origin = g["camera"]
    coverage = jnp.zeros_like(t_surface)
    lens = jnp.zeros_like(t_surface)
    glint = jnp.zeros_like(t_surface)
    for side in (-1.0, 1.0):
        slope = 0.13  # depth lost for each centimetre sideways
        t = (z0 - slope * side * origin[0] - origin[2]) / (ray[2] + slope * side * ray[0])
        x, y = side * (origin[0] + t * ray[0]), origin[1] + t * ray[1]
        qx, qy = jnp.abs(x - centre_x), jnp.abs(y - centre_y + 0.03 * (x - centre_x))
        corner = 0.25 + roundness * 1.3
        ax, ay = jnp.maximum(qx - half_w + corner, 0.0), jnp.maximum(qy - half_h + corner, 0.0)
        d = (
            jnp.sqrt(ax * ax + ay * ay + 1e-9)
            - corner
            + jnp.minimum(jnp.maximum(qx - half_w + corner, qy - half_h + corner), 0.0)
        )
        seen = (t < t_surface + 0.3) & (x > 0)
        rim = edge(width * 0.5 - jnp.abs(d), pixel)
        inner = centre_x - half_w
        bridge = edge(0.16 - jnp.abs(y - 0.35 - 0.25 * (1 - (x / inner) ** 2)), pixel) * (x < inner)
        coverage = jnp.maximum(coverage, jnp.where(seen, jnp.maximum(rim, bridge), 0.0))
        lens = jnp.maximum(lens, jnp.where(seen, edge(-d, pixel), 0.0))
        glint = jnp.maximum(
            glint, jnp.where(seen, bump((x + 0.8 * y - centre_x - 0.6) / 0.7) * edge(-d - 0.2, pixel), 0.0)
        )
        # temple
        start = jnp.array([side * (centre_x + half_w), 0.45, z0 - slope * (centre_x + half_w)])
        end = jnp.array([side * (7.35 * g["head_width"] + 0.35), 0.5, -0.3])
        axis = end - start
        w0 = origin - start
        a, b, d0, e0 = (
            axis @ axis,
            dot(axis[:, None] * jnp.ones_like(ray), ray),
            axis @ w0,
            dot(w0[:, None] * jnp.ones_like(ray), ray),
        )
        k = jnp.clip((d0 - b * e0) / jnp.maximum(a - b * b, 1e-3), 0.0, 1.0)
        point = start[:, None] + axis[:, None] * k
        tt = dot(point - origin[:, None], ray)
        miss = jnp.sqrt(jnp.sum((point - origin[:, None] - ray * tt) ** 2, axis=0))
        coverage = jnp.maximum(coverage, jnp.where(tt < t_surface + 0.5, edge(0.5 * width + 0.04 - miss, pixel), 0.0))
    coverage, lens = coverage * g["glasses"], lens * g["glasses"]
    dark = g["sunglasses"]
    radiance = mix(radiance, radiance * mix(0.93, 0.06, dark) + 0.012, lens)
    radiance = radiance + lens * glint * (0.05 + 0.10 * dark) * colour(g["key"], lens)
    radiance = mix(radiance, colour(g["frame"], lens) * (0.7 + 0.6 * colour(g["fill"], lens)), coverage)
    covered = (coverage > 0.5) | ((lens > 0.5) & (dark > 0))
    return radiance, jnp.where(covered, REGION["glasses"], region)


def held_up(g, u, v, pixel, radiance, region):
    """Draws a hand or a card in front of the face; `u`, `v` in 0..1 across the image."""
    px, py, angle = g["occluder_place"]
    x = (u - 0.5) * g["extent"] - g["offset"][0] - px
    y = (0.5 - v) * g["extent"] - g["offset"][1] - py
    c, s = jnp.cos(angle), jnp.sin(angle)
    x, y = c * x - s * y, s * x + c * y
    # fingers and palm: capsules in the plane, shaded as if round
    cover = jnp.zeros_like(x)
    tone = jnp.zeros_like(x)
    for x0, y0, x1, y1, r in _HAND:
        dx, dy = x1 - x0, y1 - y0
        t = jnp.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        d = jnp.sqrt((x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2) / r
        inside = edge((1.0 - d) * r, pixel)
        tone = mix(tone, 0.45 + 0.55 * jnp.sqrt(jnp.maximum(1.0 - d * d, 0.0)), inside)
        cover = jnp.maximum(cover, inside)
    light = colour(g["key"], x) * 1.3 + colour(g["fill"], x) * 0.4
    hand = colour(g["skin"], x) * light * tone * 0.85
    radiance = mix(radiance, hand, cover * g["hand"])
    q = jnp.maximum(jnp.abs(x) - 4.6, jnp.abs(y) - 3.2)
    card = edge(0.3 - q, pixel * 1.5) * g["card"]
    stripe = 1.0 - 0.35 * smoothstep(-0.1, 0.1, y - 1.2)
    radiance = mix(radiance, colour(g["card_colour"], x) * light * 0.6 * stripe, card)
    return radiance, jnp.where((cover * g["hand"] > 0.5) | (card > 0.5), REGION["occluder"], region)
