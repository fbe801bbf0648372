"""What surfaces look like: skin and the features painted on it, eyes, mouth, hair, cloth, background, glasses.

Colours are linear RGB as arrays [3, ...]; a soft edge is as wide as a pixel, so that nothing painted is jagged.
Coordinates are those of `geometry`.
"""

import jax
import jax.numpy as jnp

from data_prep.face_renderer import geometry
from data_prep.face_renderer.geometry import bump, smoothstep, wave

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


def paint_face(g, p, ray, pixel):
    """Colours of skin, brows, eyes, lips and mouth at points `p` [3, N] on the head, seen along `ray` [3, N].

    Returns a dict: `albedo` [3, N], `gloss` [N] (strength of highlights), `wet` [N] (share of eye or tooth: no skin
    scattering), `eye` [N] coverage of the eyeball, `region` [N] int.
    """
    x, y, z = p
    s = jnp.abs(x)
    side = jnp.sign(x)
    front = smoothstep(3.0, 5.0, z)
    au = g["au"]
    skin = colour(g["skin"], x)
    blood = colour([1.04, 0.80, 0.78], x)

    # skin: blood in cheeks, nose and ears, paler forehead, fine mottling, freckles
    tex = g["texture"]
    mottle = noise(x * 0.9 + tex[0], y * 0.9 + tex[1]) - 0.5
    albedo = skin * (1.0 + 0.06 * mottle)
    flush = (
        bump(jnp.sqrt((s - 4.3) ** 2 + (y + 2.7) ** 2) / 3.4)
        + 0.7 * bump(jnp.sqrt(s * s + (y - g["nose_y"]) ** 2) / 2.0) * front
    )
    flush = jnp.clip(flush * front + 0.8 * smoothstep(6.9, 7.6, s) * smoothstep(3.0, 1.0, z), 0.0, 1.0)
    albedo = albedo * mix(1.0, blood, g["blush"] * flush * (1.0 + 0.4 * au[12]))
    spots = smoothstep(0.70, 0.85, noise(x * 2.6 + 31.0, y * 2.6)) * bump((y + 2.0) / 3.2) * bump(s / 6.5) * front
    albedo = albedo * mix(1.0, colour([0.72, 0.55, 0.45], x), g["freckles"] * spots)
    gloss = jnp.full_like(x, 0.20) + 0.10 * bump(s / 1.3) * front * smoothstep(-5.0, -3.0, y)

    # sockets a little darker, made-up lids
    upper, lower, u = geometry.eyelids(g, s)
    around = bump(jnp.sqrt(((s - g["eye_x"]) / 2.3) ** 2 + ((y - 0.25) / 1.7) ** 2)) * front
    albedo = albedo * mix(1.0, colour([0.84, 0.74, 0.72], x), around * 0.8)
    lid = bump((y - upper - 0.3) / 0.85) * smoothstep(-0.1, 0.1, y - upper) * bump(u / 1.35) * front
    albedo = mix(albedo, albedo * colour([0.62, 0.42, 0.50], x), lid * g["makeup"])

    # nostrils
    hole = jnp.sqrt(((s - 0.68 * g["ala_x"] + 0.1) / 0.48) ** 2 + ((y - g["ala_y"] + 0.42) / 0.26) ** 2)
    albedo = albedo * mix(1.0, colour([0.24, 0.15, 0.14], x), smoothstep(1.25, 0.55, hole) * front * 0.9)

    # stubble and beard
    cover = geometry.beard_cover(g, s, y, z)
    outer_up, inner_up, inner_low, outer_low, m = geometry.lips(g, x)
    in_lips = jnp.minimum(outer_up - y, y - outer_low)
    off_lips = smoothstep(0.15, -0.25, in_lips - 4.0 * jnp.maximum(jnp.abs(m) - 1.0, 0.0))
    shade = smoothstep(0.6, -0.8, y - (-3.9 - 0.45 * jnp.abs(s - 4.6))) * smoothstep(-2.0, 2.0, z)
    grain = noise(x * 4.5 + tex[0], y * 4.5)
    albedo = mix(
        albedo, mix(skin * 0.45, colour(g["hair"], x), 0.6), g["stubble"] * shade * off_lips * (0.55 + 0.5 * grain)
    )
    whisker = noise(x * 3.2 + 0.6 * y, y * 1.1 + 5.0)
    beard_colour = colour(g["hair"], x) * (0.65 + 0.75 * whisker) * 0.9
    beard = cover * off_lips * smoothstep(0.05, 0.30, cover * (0.75 + 0.5 * whisker))
    albedo = mix(albedo, beard_colour, beard)
    gloss = gloss * (1.0 - 0.6 * beard)

    # lips
    corner = (1.0 - jnp.abs(m)) * g["mouth_half"]
    lip = edge(jnp.minimum(in_lips, corner * 0.8), pixel * 1.3) * front
    lip_colour = colour(g["lips"], x) * (1.0 - 0.16 * bump((y - inner_up - 0.1) / 0.35)) * (0.93 + 0.1 * wave(x * 2.1))
    albedo = mix(albedo, lip_colour, lip * 0.92)
    gloss = mix(gloss, 0.42 + 0.35 * g["makeup"], lip)
    # the line between closed lips
    seam = bump((y - 0.5 * (inner_up + inner_low)) / (0.10 + 0.6 * pixel)) * bump(jnp.abs(m) / 1.06) * front
    albedo = albedo * mix(
        1.0, colour([0.34, 0.22, 0.22], x), 0.85 * seam * jnp.minimum(1.0, 0.22 / (0.10 + 0.6 * pixel) + 0.2)
    )

    # inside the mouth: teeth and tongue lie behind the lips, so they shift against them
    inside = edge(jnp.minimum(inner_up - y, y - inner_low), pixel) * smoothstep(0.0, 0.1, corner) * front
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
    albedo = mix(albedo, mouth, inside)
    gloss = mix(gloss, 0.35, inside * upper_teeth)
    wet = inside

    # brows: hairs along the line
    height, half, v = geometry.brow_line(g, s)
    strands = noise(s * 2.2 - 1.4 * (y - height), (y - height) * 5.0 + 2.0 * s + tex[1])
    reach = half * (0.80 + 0.4 * strands)
    brow = smoothstep(-0.5, 1.0, (reach - jnp.abs(y - height)) / (0.55 * half + pixel))
    brow = brow * smoothstep(-0.06, 0.10, v) * smoothstep(1.04, 0.86, v) * front
    brow = jnp.clip(brow * g["brow_density"] * (1.0 - 0.18 * smoothstep(0.25, 0.0, v)), 0.0, 1.0)
    albedo = mix(albedo, colour(g["brow"], x) * (0.8 + 0.4 * strands), brow)
    gloss = gloss * (1.0 - 0.7 * brow)

    # eyes
    lid_gap = jnp.minimum(upper - y, y - lower)
    eye = edge(jnp.minimum(lid_gap, (1.0 - jnp.abs(u)) * g["eye_half"] * 0.6), pixel) * front
    ex = s - g["eye_x"] - side * g["gaze"][0] * 1.1
    ey = y - g["eye_y"] - 0.10 - g["gaze"][1] * 0.8
    r = jnp.sqrt(ex * ex + ey * ey)
    size = 0.80
    white = colour([0.66, 0.64, 0.63], x) * mix(1.0, colour([0.92, 0.72, 0.68], x), smoothstep(0.55, 1.0, jnp.abs(u)))
    rays = noise(jnp.arctan2(ey, ex) * 6.0, r * 2.0)
    iris = colour(g["iris"], x) * (
        0.55 + 0.9 * smoothstep(0.2, 0.55, r) * (0.65 + 0.7 * rays) + 0.9 * smoothstep(0.1, -0.5, ey)
    )
    iris = iris * (1.0 - 0.75 * smoothstep(0.80 * size, 0.99 * size, r))
    eyeball = mix(white, iris, edge(size - r, pixel * 1.1))
    eyeball = mix(eyeball, colour([0.004, 0.004, 0.005], x), edge(0.36 - r, pixel * 1.1))
    shade = 1.0 - 0.62 * smoothstep(0.55, 0.0, upper - y) * smoothstep(1.0, 0.0, lid_gap)
    albedo = mix(albedo, eyeball * shade, eye)
    gloss = mix(gloss, 1.0, eye)
    wet = jnp.maximum(wet, eye)
    # lashes: a dark upper rim that runs a little past the outer corner, a faint lower one
    thick = 0.09 + 0.13 * g["lashes"]
    rim = (
        edge(thick - jnp.abs(y - upper - 0.3 * thick), pixel * 1.2)
        * smoothstep(-1.08, -0.95, u)
        * smoothstep(1.10 + 0.12 * g["lashes"], 0.95, u)
    )
    low_rim = edge(0.05 - jnp.abs(y - lower), pixel * 1.5) * smoothstep(1.05, 0.9, jnp.abs(u))
    crease = bump((y - upper - 0.42) / (0.16 + 0.3 * pixel)) * bump(u / 1.12) * g["lid_crease"]
    albedo = albedo * mix(1.0, colour([0.55, 0.42, 0.38], x), 0.6 * crease * front * (1.0 - brow))
    albedo = mix(
        albedo, colour([0.018, 0.012, 0.010], x), jnp.clip(rim * front * (0.55 + 0.45 * g["lashes"]), 0.0, 1.0)
    )
    albedo = mix(albedo, albedo * colour([0.42, 0.28, 0.26], x), low_rim * front)

    # regions
    nose_half = 0.75 + (g["ala_x"] + 0.55) * smoothstep(0.8, g["ala_y"] + 0.4, y) * 0.85
    nose = (y < 0.9) & (y > g["subnasale"]) & (s < nose_half) & (z > 6.5)
    region = jnp.where(nose, REGION["nose"], REGION["skin"])
    region = jnp.where(
        (z < 2.2) & (s > 7.0 * g["head_width"]) & (jnp.abs(y + 0.9) < 3.2 * g["ear_size"]), REGION["ears"], region
    )
    region = jnp.where((geometry.neck_distance(g, x, y, z) < 0.35) & (y < -6.0), REGION["neck"], region)
    region = jnp.where(beard > 0.5, REGION["beard"], region)
    region = jnp.where(jnp.maximum(lip, inside) > 0.5, REGION["mouth"], region)
    region = jnp.where(brow > 0.4, REGION["brows"], region)
    region = jnp.where(eye > 0.5, REGION["eyes"], region)
    return {"albedo": albedo, "gloss": gloss, "wet": wet, "eye": eye, "region": region}


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
    """Colour [3, N] of what lies behind, out of focus; `u`, `v` in -1..1 across the image."""
    along = u * g["back_direction"][0] + v * g["back_direction"][1]
    c = mix(colour(g["back_a"], u), colour(g["back_b"], u), smoothstep(-1.1, 1.1, along))
    third = colour(g["back_c"], u)
    c = mix(c, third, g["back_stripes"] * (0.5 + 0.5 * wave(along * g["back_frequency"])))
    for i in range(g["back_blobs"].shape[1]):
        bx, by, r, strength = (g["back_blobs"][k, i] for k in range(4))
        d = jnp.sqrt((u - bx) ** 2 + (v - by) ** 2)
        c = mix(c, third if i % 2 else colour(g["back_b"], u) * 1.2, strength * smoothstep(r, 0.6 * r, d))
    return c * (1.0 - 0.18 * (u * u + v * v))
