"""The face itself: skin, lids, nostrils, beard, lips, mouth, brows, eyes and lashes, painted one over the other."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from synthetic_faces import geometry
from synthetic_faces.appearance import REGION, colour, edge, mix, noise
from synthetic_faces.geometry import bump, smoothstep, wave


class Place(NamedTuple):
    """Points on the head, [N] each, and where they are among its features.

    Attributes:
      x: towards the subject's left, cm.
      y: up.
      z: out of the face.
      s: |x|.
      front: 1 on the face, 0 elsewhere on the head.
      pixel: width of a pixel there.
      upper: y of the upper lid.
      lower: y of the lower lid.
      u: place along the eye, -1..1 from its inner to its outer corner.
      lips: y of the outer and inner edge of the upper lip, of the inner and outer edge of the lower one.
      m: place along the mouth, -1..1.
    """

    x: jax.Array
    y: jax.Array
    z: jax.Array
    s: jax.Array
    front: jax.Array
    pixel: jax.Array
    upper: jax.Array
    lower: jax.Array
    u: jax.Array
    lips: tuple[jax.Array, ...]
    m: jax.Array


class Paint(NamedTuple):
    """The paint so far: `albedo` [3, N] and `gloss` [N], the strength of highlights."""

    albedo: jax.Array
    gloss: jax.Array


def paint_face(g, p, ray, pixel):
    """Colours of skin, brows, eyes, lips and mouth at points `p` [3, N] on the head, seen along `ray` [3, N].

    Returns a dict: `albedo` [3, N], `gloss` [N] (strength of highlights), `wet` [N] (share of eye or tooth: no skin
    scattering), `eye` [N] coverage of the eyeball, `region` [N] int.
    """
    at = _place(g, p, pixel)
    paint = _nostrils(g, at, _lids(g, at, _skin(g, at)))
    paint, beard = _beard(g, at, paint)
    paint, lip = _lips(g, at, paint)
    paint, inside = _mouth(g, at, ray, paint)
    paint, brow = _brows(g, at, paint)
    paint, eye = _eyes(g, at, paint)
    albedo = _lashes(g, at, paint.albedo, brow)
    region = _regions(g, at, {"beard": beard, "lip": lip, "inside": inside, "brow": brow, "eye": eye})
    return {"albedo": albedo, "gloss": paint.gloss, "wet": jnp.maximum(inside, eye), "eye": eye, "region": region}


def _place(g, p, pixel) -> Place:
    x, y, z = p
    s = jnp.abs(x)
    upper, lower, u = geometry.eyelids(g, s)
    *lips, m = geometry.lips(g, x)
    return Place(x, y, z, s, smoothstep(3.0, 5.0, z), pixel, upper, lower, u, tuple(lips), m)


def _skin(g, at) -> Paint:
    """Blood in cheeks, nose and ears, paler forehead, fine mottling, freckles."""
    x, y, z, s, front = at.x, at.y, at.z, at.s, at.front
    tex = g["texture"]
    mottle = noise(x * 0.9 + tex[0], y * 0.9 + tex[1]) - 0.5
    albedo = colour(g["skin"], x) * (1.0 + 0.06 * mottle)
    flush = (
        bump(jnp.sqrt((s - 4.3) ** 2 + (y + 2.7) ** 2) / 3.4)
        + 0.7 * bump(jnp.sqrt(s * s + (y - g["nose_y"]) ** 2) / 2.0) * front
    )
    flush = jnp.clip(flush * front + 0.8 * smoothstep(6.9, 7.6, s) * smoothstep(3.0, 1.0, z), 0.0, 1.0)
    blood = colour([1.04, 0.80, 0.78], x)
    albedo = albedo * mix(1.0, blood, g["blush"] * flush * (1.0 + 0.4 * g["au"][12]))
    spots = smoothstep(0.70, 0.85, noise(x * 2.6 + 31.0, y * 2.6)) * bump((y + 2.0) / 3.2) * bump(s / 6.5) * front
    albedo = albedo * mix(1.0, colour([0.72, 0.55, 0.45], x), g["freckles"] * spots)
    return Paint(albedo, jnp.full_like(x, 0.20) + 0.10 * bump(s / 1.3) * front * smoothstep(-5.0, -3.0, y))


def _lids(g, at, paint) -> Paint:
    """Sockets a little darker, made-up lids."""
    x, y, s, front, upper, albedo = at.x, at.y, at.s, at.front, at.upper, paint.albedo
    around = bump(jnp.sqrt(((s - g["eye_x"]) / 2.3) ** 2 + ((y - 0.25) / 1.7) ** 2)) * front
    albedo = albedo * mix(1.0, colour([0.84, 0.74, 0.72], x), around * 0.8)
    lid = bump((y - upper - 0.3) / 0.85) * smoothstep(-0.1, 0.1, y - upper) * bump(at.u / 1.35) * front
    return paint._replace(albedo=mix(albedo, albedo * colour([0.62, 0.42, 0.50], x), lid * g["makeup"]))


def _nostrils(g, at, paint) -> Paint:
    x, y, s = at.x, at.y, at.s
    hole = jnp.sqrt(((s - 0.68 * g["ala_x"] + 0.1) / 0.48) ** 2 + ((y - g["ala_y"] + 0.42) / 0.26) ** 2)
    dark = mix(1.0, colour([0.24, 0.15, 0.14], x), smoothstep(1.25, 0.55, hole) * at.front * 0.9)
    return paint._replace(albedo=paint.albedo * dark)


def _beard(g, at, paint) -> tuple[Paint, jax.Array]:
    """Stubble and beard; returns the beard's coverage too."""
    x, y, z, s = at.x, at.y, at.z, at.s
    tex = g["texture"]
    cover = geometry.beard_cover(g, s, y, z)
    off_lips = smoothstep(0.15, -0.25, _in_lips(at) - 4.0 * jnp.maximum(jnp.abs(at.m) - 1.0, 0.0))
    shade = smoothstep(0.6, -0.8, y - (-3.9 - 0.45 * jnp.abs(s - 4.6))) * smoothstep(-2.0, 2.0, z)
    grain = noise(x * 4.5 + tex[0], y * 4.5)
    stubble = mix(colour(g["skin"], x) * 0.45, colour(g["hair"], x), 0.6)
    albedo = mix(paint.albedo, stubble, g["stubble"] * shade * off_lips * (0.55 + 0.5 * grain))
    whisker = noise(x * 3.2 + 0.6 * y, y * 1.1 + 5.0)
    beard_colour = colour(g["hair"], x) * (0.65 + 0.75 * whisker) * 0.9
    beard = cover * off_lips * smoothstep(0.05, 0.30, cover * (0.75 + 0.5 * whisker))
    return Paint(mix(albedo, beard_colour, beard), paint.gloss * (1.0 - 0.6 * beard)), beard


def _in_lips(at):
    """How far within the lips, open mouth included."""
    outer_up, _, _, outer_low = at.lips
    return jnp.minimum(outer_up - at.y, at.y - outer_low)


def _corner(g, at):
    """How far from the corners of the mouth."""
    return (1.0 - jnp.abs(at.m)) * g["mouth_half"]


def _lips(g, at, paint) -> tuple[Paint, jax.Array]:
    """Lips and the line between closed ones; returns the lips' coverage too."""
    x, y, pixel, front = at.x, at.y, at.pixel, at.front
    _, inner_up, inner_low, _ = at.lips
    lip = edge(jnp.minimum(_in_lips(at), _corner(g, at) * 0.8), pixel * 1.3) * front
    lip_colour = colour(g["lips"], x) * (1.0 - 0.16 * bump((y - inner_up - 0.1) / 0.35)) * (0.93 + 0.1 * wave(x * 2.1))
    albedo = mix(paint.albedo, lip_colour, lip * 0.92)
    gloss = mix(paint.gloss, 0.42 + 0.35 * g["makeup"], lip)
    seam = bump((y - 0.5 * (inner_up + inner_low)) / (0.10 + 0.6 * pixel)) * bump(jnp.abs(at.m) / 1.06) * front
    dark = 0.85 * seam * jnp.minimum(1.0, 0.22 / (0.10 + 0.6 * pixel) + 0.2)
    return Paint(albedo * mix(1.0, colour([0.34, 0.22, 0.22], x), dark), gloss), lip


def _mouth(g, at, ray, paint) -> tuple[Paint, jax.Array]:
    """Teeth and tongue, which lie behind the lips, so they shift against them; returns the opening's coverage too."""
    x, y, pixel, au = at.x, at.y, at.pixel, g["au"]
    _, inner_up, inner_low, _ = at.lips
    inside = edge(jnp.minimum(inner_up - y, y - inner_low), pixel) * smoothstep(0.0, 0.1, _corner(g, at)) * at.front
    depth = 0.9 / jnp.maximum(-ray[2], 0.35)
    tx, ty = x + ray[0] * depth, y + ray[1] * depth
    cave = colour([0.045, 0.012, 0.012], x)
    teeth_low = -6.95 - 0.5 * g["face_length"] + g["mouth_y"] - 0.1 * tx * tx * 0.25
    falloff = jnp.clip(1.0 - (tx / (g["mouth_half"] * 1.05)) ** 2, 0.0, 1.0)
    gaps = 1.0 - 0.30 * bump((tx / 0.62 - jnp.round(tx / 0.62)) / 0.16)
    enamel = colour([0.80, 0.77, 0.70], x) * falloff * gaps
    upper_teeth = edge(ty - teeth_low, pixel * 1.2)
    drop = 1.35 * au[26] + 0.30 * au[25] + 0.35 * au[20] * au[25]
    lower_top = teeth_low - 0.12 - drop
    lower_teeth = edge(jnp.minimum(lower_top - ty, ty - lower_top + 0.8), pixel * 1.5)
    tongue = edge(1.0 - jnp.sqrt((tx / 1.7) ** 2 + ((ty - lower_top + 0.7) / (0.55 + 0.35 * drop)) ** 2), 0.5)
    mouth = mix(cave, colour([0.42, 0.10, 0.10], x), tongue * smoothstep(0.2, 0.8, drop))
    mouth = mix(mouth, enamel * 0.8, lower_teeth * 0.9)
    mouth = mix(mouth, enamel, upper_teeth)
    mouth = mouth * (0.45 + 0.55 * smoothstep(0.0, 0.35, inner_up - y))
    return Paint(mix(paint.albedo, mouth, inside), mix(paint.gloss, 0.35, inside * upper_teeth)), inside


def _brows(g, at, paint) -> tuple[Paint, jax.Array]:
    """Hairs along the line; returns the brows' coverage too."""
    x, y, s = at.x, at.y, at.s
    height, half, v = geometry.brow_line(g, s)
    strands = noise(s * 2.2 - 1.4 * (y - height), (y - height) * 5.0 + 2.0 * s + g["texture"][1])
    reach = half * (0.80 + 0.4 * strands)
    brow = smoothstep(-0.5, 1.0, (reach - jnp.abs(y - height)) / (0.55 * half + at.pixel))
    brow = brow * smoothstep(-0.06, 0.10, v) * smoothstep(1.04, 0.86, v) * at.front
    brow = jnp.clip(brow * g["brow_density"] * (1.0 - 0.18 * smoothstep(0.25, 0.0, v)), 0.0, 1.0)
    albedo = mix(paint.albedo, colour(g["brow"], x) * (0.8 + 0.4 * strands), brow)
    return Paint(albedo, paint.gloss * (1.0 - 0.7 * brow)), brow


def _eyes(g, at, paint) -> tuple[Paint, jax.Array]:
    """Eyeballs in the shade of their lids; returns their coverage too."""
    y, u, upper = at.y, at.u, at.upper
    lid_gap = jnp.minimum(upper - y, y - at.lower)
    eye = edge(jnp.minimum(lid_gap, (1.0 - jnp.abs(u)) * g["eye_half"] * 0.6), at.pixel) * at.front
    eyeball = _eyeball(g, at)
    shade = 1.0 - 0.62 * smoothstep(0.55, 0.0, upper - y) * smoothstep(1.0, 0.0, lid_gap)
    return Paint(mix(paint.albedo, eyeball * shade, eye), mix(paint.gloss, 1.0, eye)), eye


def _eyeball(g, at):
    """Colour [3, N] of white, iris and pupil where the gaze has turned them."""
    x, pixel, size = at.x, at.pixel, 0.80
    ex = at.s - g["eye_x"] - jnp.sign(x) * g["gaze"][0] * 1.1
    ey = at.y - g["eye_y"] - 0.10 - g["gaze"][1] * 0.8
    r = jnp.sqrt(ex * ex + ey * ey)
    reddish = mix(1.0, colour([0.92, 0.72, 0.68], x), smoothstep(0.55, 1.0, jnp.abs(at.u)))
    white = colour([0.66, 0.64, 0.63], x) * reddish
    rays = noise(jnp.arctan2(ey, ex) * 6.0, r * 2.0)
    iris = colour(g["iris"], x) * (
        0.55 + 0.9 * smoothstep(0.2, 0.55, r) * (0.65 + 0.7 * rays) + 0.9 * smoothstep(0.1, -0.5, ey)
    )
    iris = iris * (1.0 - 0.75 * smoothstep(0.80 * size, 0.99 * size, r))
    eyeball = mix(white, iris, edge(size - r, pixel * 1.1))
    return mix(eyeball, colour([0.004, 0.004, 0.005], x), edge(0.36 - r, pixel * 1.1))


def _lashes(g, at, albedo, brow):
    """Albedo with crease and lashes: an upper rim that runs a little past the outer corner, a faint lower one."""
    x, y, u, upper, pixel, front = at.x, at.y, at.u, at.upper, at.pixel, at.front
    thick = 0.09 + 0.13 * g["lashes"]
    rim = (
        edge(thick - jnp.abs(y - upper - 0.3 * thick), pixel * 1.2)
        * smoothstep(-1.08, -0.95, u)
        * smoothstep(1.10 + 0.12 * g["lashes"], 0.95, u)
    )
    low_rim = edge(0.05 - jnp.abs(y - at.lower), pixel * 1.5) * smoothstep(1.05, 0.9, jnp.abs(u))
    crease = bump((y - upper - 0.42) / (0.16 + 0.3 * pixel)) * bump(u / 1.12) * g["lid_crease"]
    albedo = albedo * mix(1.0, colour([0.55, 0.42, 0.38], x), 0.6 * crease * front * (1.0 - brow))
    cover = jnp.clip(rim * front * (0.55 + 0.45 * g["lashes"]), 0.0, 1.0)
    albedo = mix(albedo, colour([0.018, 0.012, 0.010], x), cover)
    return mix(albedo, albedo * colour([0.42, 0.28, 0.26], x), low_rim * front)


def _regions(g, at, cover):
    """Index [N] of the region that is seen, given the coverage of what was painted."""
    x, y, z, s = at.x, at.y, at.z, at.s
    nose_half = 0.75 + (g["ala_x"] + 0.55) * smoothstep(0.8, g["ala_y"] + 0.4, y) * 0.85
    nose = (y < 0.9) & (y > g["subnasale"]) & (s < nose_half) & (z > 6.5)
    ears = (z < 2.2) & (s > 7.0 * g["head_width"]) & (jnp.abs(y + 0.9) < 3.2 * g["ear_size"])
    region = jnp.where(nose, REGION["nose"], REGION["skin"])
    region = jnp.where(ears, REGION["ears"], region)
    region = jnp.where((geometry.neck_distance(g, x, y, z) < 0.35) & (y < -6.0), REGION["neck"], region)
    region = jnp.where(cover["beard"] > 0.5, REGION["beard"], region)
    region = jnp.where(jnp.maximum(cover["lip"], cover["inside"]) > 0.5, REGION["mouth"], region)
    region = jnp.where(cover["brow"] > 0.4, REGION["brows"], region)
    return jnp.where(cover["eye"] > 0.5, REGION["eyes"], region)
