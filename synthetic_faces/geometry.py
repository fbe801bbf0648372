"""The head as a signed distance field: skull, face, features, ears, neck, hair, hat, clothes.

Points come as three arrays x, y, z of one shape, in the head's frame in centimetres (see `scenes`). `face_shape` turns
identity and action units into the numbers of one face; everything that is drawn on the face and every landmark is
made from these same numbers, which is what keeps labels and pictures together.
"""

import jax
import jax.numpy as jnp

from synthetic_faces.scenes import ACTION_UNITS

FAR = 60.0


def where_worn(amount, make, otherwise, like):
    """`make()` if the scalar `amount` is above 0, else `otherwise`: work is spent only on what is in the picture."""
    return jax.lax.cond(amount > 0, make, lambda: jnp.full(like.shape, otherwise, jnp.float32))


def smooth_min(a, b, k):
    """The smaller of two distances, with a fillet of about `k` where they meet."""
    h = jnp.maximum(k - jnp.abs(a - b), 0.0)
    return jnp.minimum(a, b) - h * h * (0.25 / k)


def smooth_max(a, b, k):
    """The larger of two distances, with a rounding of about `k` where they meet."""
    h = jnp.maximum(k - jnp.abs(a - b), 0.0)
    return jnp.maximum(a, b) + h * h * (0.25 / k)


def smoothstep(low, high, x):
    """0 below `low`, 1 above `high`, a cubic between."""
    t = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x):
    """A smooth bump of height 1 that is 0 from |x| = 1 on."""
    t = jnp.maximum(1.0 - x * x, 0.0)
    return t * t


def wave(x):
    """A cheap periodic wave in -1..1 of period 1."""
    f = x - jnp.floor(x) - 0.5
    return 16.0 * f * (0.5 - jnp.abs(f))


def ellipsoid(x, y, z, centre, radii):
    """Approximate distance to an ellipsoid with axes along x, y, z."""
    x, y, z = x - centre[0], y - centre[1], z - centre[2]
    ix, iy, iz = (1.0 / r for r in radii)
    x, y, z = x * ix, y * iy, z * iz
    k0 = x * x + y * y + z * z
    x, y, z = x * ix, y * iy, z * iz
    k1 = x * x + y * y + z * z
    return (k0 - jnp.sqrt(k0)) / jnp.sqrt(k1 + 1e-9)


def capsule(x, y, z, start, end, start_radius, end_radius):
    """Approximate distance to a segment whose radius goes from `start_radius` to `end_radius`."""
    dx, dy, dz = (e - s for s, e in zip(start, end, strict=True))
    x, y, z = x - start[0], y - start[1], z - start[2]
    t = jnp.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz), 0.0, 1.0)
    x, y, z = x - t * dx, y - t * dy, z - t * dz
    return jnp.sqrt(x * x + y * y + z * z + 1e-9) - (start_radius + t * (end_radius - start_radius))


def face_shape(scene: dict) -> dict:
    """Returns `scene` with the numbers of the face that identity and action units together make (scalars)."""
    g = dict(scene)
    au = {number: scene["action_units"][i] for i, number in enumerate(ACTION_UNITS)}
    g["au"] = au
    drop = 1.9 * au[26]
    length = g["face_length"]
    # mouth
    g["mouth_y0"] = -6.75 - length * 0.5 + g["mouth_y"] + 0.30 * au[17] - 0.25 * drop + 0.25 * au[9] - 0.1 * au[12]
    g["mouth_half"] = (
        2.55 * g["mouth_width"] + 0.95 * au[12] + 0.85 * au[20] - 0.35 * au[26] - 0.25 * au[17] + 0.1 * au[15]
    )
    corner = 0.15 + 1.25 * au[12] - 1.25 * au[15] - 0.40 * au[17] - 0.45 * au[20] - 0.2 * au[9]
    g["corner_y"] = g["mouth_y0"] + corner - 0.25 * drop
    part = 0.6 * jnp.maximum(au[25] - 0.1, 0.0)
    g["gap_up"] = 0.75 * part + 0.12 * drop * au[25] + 0.55 * au[9] * au[25] + 0.30 * au[12] * au[25]
    g["gap_low"] = (
        0.75 * part + 1.05 * drop * jnp.minimum(1.0, 2.0 * au[25] + 0.35) + (0.45 * au[20] + 0.60 * au[12]) * au[25]
    )
    g["lip_up"] = g["upper_lip"] * (1 - 0.22 * au[12] - 0.25 * au[20] - 0.15 * au[17] - 0.1 * au[4] + 0.05 * au[9])
    g["lip_low"] = g["lower_lip"] * (1 - 0.18 * au[12] - 0.25 * au[20] - 0.1 * au[4] + 0.10 * au[17])
    g["mouth_z"] = 0.35 * au[17] - 0.35 * au[20] - 0.25 * au[12]
    g["jaw_y"] = -6.9 - length * 0.6 - 0.75 * drop
    g["chin_y"] = -9.75 - length - g["chin_length"] - 0.95 * drop + 0.45 * au[17]
    # eyes
    g["eye_y"] = 0.0
    g["eye_half"] = 1.52 * g["eye_size"]
    opening = 0.70 * g["eye_open"] * g["eye_size"]
    g["lid_up"] = (
        opening * (1 + 0.62 * au[5] - 0.30 * au[6] - 0.22 * au[9] - 0.12 * au[4] * (1 - au[5])) - 0.05 * au[12]
    )
    g["lid_low"] = 0.52 * opening / 0.74 * (1 - 0.55 * au[6] - 0.30 * au[9] + 0.12 * au[5] - 0.12 * au[12])
    # brows: heights at the inner and outer end
    g["brow_in"] = g["brow_y"] - 0.5 * g["brow_tilt"] - 0.28 + 1.10 * au[1] - 0.95 * au[4] - 0.35 * au[9]
    g["brow_out"] = g["brow_y"] + 0.5 * g["brow_tilt"] - 0.12 + 0.95 * au[2] - 0.40 * au[1] - 0.05 * au[4]
    g["brow_bow"] = g["brow_arch"] + 0.45 * au[2] + 0.10 * au[1] - 0.25 * au[4]
    g["brow_x0"] = g["eye_x"] - 2.0 - 0.35 * au[4]
    g["brow_x1"] = g["eye_x"] + 2.15
    # nose
    g["nose_y"] = -3.55 - length * 0.25 - 0.6 * g["nose_length"]
    g["nose_z"] = 10.35 + g["nose_forward"]
    g["ala_y"] = g["nose_y"] - 0.45 + 0.45 * au[9]
    g["ala_x"] = 1.18 * g["nose_width"] + 0.12 * au[9] + 0.12 * au[12]
    g["subnasale"] = g["nose_y"] - 1.25 + 0.25 * au[9]
    g["cheek_y"] = -2.7 + 0.75 * au[6] + 0.45 * au[12]
    g["cheek_out"] = g["cheek_fullness"] * 0.5 + 0.55 * au[12] + 0.30 * au[6]
    return g


def eyelids(g, s):
    """Returns the heights of the upper and lower lid edges at |x| = `s`, and -1 (inner corner)..1 (outer) there."""
    u = (s - g["eye_x"]) / g["eye_half"]
    level = g["eye_y"] + g["eye_tilt"] * u
    arc = jnp.maximum(1.0 - u * u, 0.0)
    return level + g["lid_up"] * arc * (1.0 - 0.18 * u), level - g["lid_low"] * arc * (1.0 + 0.22 * u), u


def brow_line(g, s):
    """Returns height, half thickness and position 0 (inner)..1 (outer) of the brow at |x| = `s`."""
    v = (s - g["brow_x0"]) / (g["brow_x1"] - g["brow_x0"])
    c = jnp.clip(v, 0.0, 1.0)
    height = g["brow_in"] + (g["brow_out"] - g["brow_in"]) * c + g["brow_bow"] * 4.0 * c * (1.0 - c) * (0.7 + 0.6 * c)
    return height, g["brow_thickness"] * (1.0 - 0.75 * c * c), v


def lips(g, x):
    """Returns the heights of the lips' edges at `x` (outer upper, inner upper, inner lower, outer lower) and -1..1."""
    u = x / g["mouth_half"]
    arc = jnp.maximum(1.0 - u * u, 0.0)
    middle = g["mouth_y0"] + (g["corner_y"] - g["mouth_y0"]) * u * u
    inner_up = middle + g["gap_up"] * arc
    inner_low = middle - g["gap_low"] * arc * (0.6 + 0.4 * arc)
    bow = 1.0 - 0.28 * g["lip_bow"] * bump(u * 4.5) + 0.12 * g["lip_bow"] * bump((jnp.abs(u) - 0.25) * 4.0)
    return inner_up + g["lip_up"] * jnp.sqrt(arc) * arc * bow, inner_up, inner_low, inner_low - g["lip_low"] * arc, u


def skin_distance(g, x, y, z):
    """Signed distance to head, ears and neck (with a full beard's volume)."""
    s = jnp.sqrt(x * x + 0.03)
    w, h = g["head_width"], g["head_height"]
    fw, length = g["face_width"], g["face_length"]
    d = ellipsoid(x, y, z, (0.0, 2.3, -0.9 + 0.2 * g["forehead"]), (7.35 * w, 9.3 * h, 9.5))
    d = smooth_min(d, ellipsoid(x, y, z, (0.0, -2.6 - 0.3 * length, 1.6), (6.35 * fw, 8.2, 7.35)), 2.5)
    jaw = ellipsoid(x, y, z, (0.0, g["jaw_y"] + 0.4 * g["jaw_height"], 2.3), (5.1 * g["jaw_width"], 4.3, 6.1))
    d = smooth_min(d, jaw, 2.6)
    chin = ellipsoid(x, y, z, (0.0, g["chin_y"], 6.3 + g["chin_forward"]), (2.4 * g["chin_width"], 1.7, 2.0))
    d = smooth_min(d, chin, 2.4)
    cheek = ellipsoid(
        s, y, z, (3.95 * fw, g["cheek_y"], 5.3 + 0.45 * g["cheek_out"] + 0.4 * g["cheekbone"]), (2.5, 2.1, 2.5)
    )
    d = smooth_min(d, cheek, 2.0)
    muzzle = ellipsoid(x, y, z, (0.0, g["mouth_y0"] + 0.2, 6.75 + 0.5 * g["mouth_z"]), (3.2, 2.7, 2.35))
    d = smooth_min(d, muzzle, 1.6)
    ridge = ellipsoid(s, y, z, (2.7, 1.75 + 0.3 * (g["brow_in"] - 2.0), 6.55 + 0.5 * g["brow_ridge"]), (3.2, 1.25, 1.9))
    d = smooth_min(d, ridge, 1.3)
    socket = ellipsoid(s, y, z, (g["eye_x"] - 0.15, -0.1, 10.1 - 0.5 * g["eye_depth"]), (2.3, 1.55, 2.2))
    d = smooth_max(d, -socket, 1.3)
    ball = ellipsoid(s, y, z, (g["eye_x"], 0.0, 6.25 - 0.4 * g["eye_depth"]), (1.75, 1.6, 1.7))
    d = smooth_min(d, ball, 0.6)
    # nose
    bridge = capsule(x, y, z, (0.0, 1.3, 7.85 + 0.4 * g["nose_bridge"]), (0.0, g["nose_y"] + 0.1, g["nose_z"] - 0.55),
                     0.62 * g["nose_size"], 0.80 * g["nose_size"])  # fmt: skip
    d = smooth_min(d, bridge, 1.0)
    tip = ellipsoid(x, y, z, (0.0, g["nose_y"] + 0.35 * g["nose_upturn"], g["nose_z"]),
                    (1.02 * g["nose_size"], 0.92 * g["nose_size"], 0.98))  # fmt: skip
    ala = ellipsoid(s, y, z, (g["ala_x"], g["ala_y"], g["nose_z"] - 1.45), (0.72, 0.68 * g["nose_size"], 1.05))
    d = smooth_min(d, smooth_min(tip, ala, 0.7), 0.7)
    # lips: ridges along their curves, a groove between
    outer_up, inner_up, inner_low, outer_low, u = lips(g, x)
    across = bump(0.93 * u)
    up = (y - 0.5 * (inner_up + outer_up)) / (0.62 * (outer_up - inner_up) + 0.12)
    low = (y - 0.5 * (inner_low + outer_low)) / (0.62 * (inner_low - outer_low) + 0.12)
    front = smoothstep(4.0, 7.0, z)
    swell = (
        across
        * front
        * (0.34 * bump(up) * jnp.sqrt(g["upper_lip"] / 0.62) + 0.42 * bump(low) * jnp.sqrt(g["lower_lip"] / 0.85))
    )
    crease = (
        0.22 * front * bump(0.9 * u) * bump((y - 0.5 * (inner_up + inner_low)) / (0.5 * (inner_up - inner_low) + 0.22))
    )
    d = d - swell + crease
    # a beard that has volume
    length = g["beard_length"]
    d = d - where_worn(length, lambda: 0.75 * length * beard_cover(g, s, y, z), 0.0, x)

    def ears():
        out, slant = 7.15 * w + g["ear_out"], -0.18 * z
        rim = ellipsoid(s, y, z, (out + 0.25 + slant, -0.9, -0.5), (0.75, 2.75 * g["ear_size"], 1.75 * g["ear_size"]))
        hollow = ellipsoid(s, y, z, (out + 1.05 + slant, -0.7, -0.1), (0.7, 1.75 * g["ear_size"], g["ear_size"]))
        return smooth_max(rim, -hollow, 0.4)

    d = smooth_min(d, where_worn(-g["long_volume"], ears, FAR, x), 0.5)  # long hair lies over them
    return smooth_min(d, neck_distance(g, x, y, z), 1.2)


def neck_distance(g, x, y, z):
    """Signed distance to the neck alone."""
    n, width = g["neck_end"], g["neck_width"]
    return capsule(x, y, z, (0.0, -5.0, -1.8), (n[0], n[1], n[2]), width - 0.1, width + 0.6)


def beard_cover(g, s, y, z):
    """How much of the skin at a point a beard covers, 0..1 (without regard to the lips)."""
    edge = -4.2 - 0.75 * jnp.abs(s - 4.6) + 0.9 * smoothstep(4.5, 7.2, s) * 3.2  # up along the cheek to the ear
    full = g["full_beard"] * smoothstep(0.5, -0.5, y - edge) * smoothstep(-3.0, 1.0, z)
    half = g["mouth_half"]
    goatee = (
        g["goatee"]
        * smoothstep(0.35, -0.35, s - 0.75 * half)
        * smoothstep(0.3, -0.3, y - (g["mouth_y0"] - 1.2))
        * smoothstep(3.0, 5.0, z)
    )
    ring = (
        smoothstep(0.3, -0.3, jnp.abs(s - half - 0.25) - 0.45)
        * g["goatee"]
        * smoothstep(0.5, -0.3, y - (g["corner_y"] + 0.8))
        * smoothstep(4.0, 5.0, z)
    )
    droop = g["subnasale"] - 0.15 - 0.28 * s * s / half
    moustache = g["moustache"] * smoothstep(0.25, -0.25, y - droop) * smoothstep(0.3, -0.3, s - half - 0.2)
    moustache = moustache * smoothstep(-0.35, 0.1, y - g["corner_y"] + 0.35) * smoothstep(5.0, 6.5, z)
    return jnp.maximum(jnp.maximum(full, goatee), jnp.maximum(moustache, ring))


def hair_distance(g, x, y, z):
    """Signed distance to the hair: a shell around the skull and what hangs from it, less the free face."""
    s = jnp.sqrt(x * x + 0.03)
    w, h = g["head_width"], g["head_height"]
    top, side = g["hair_top"], g["hair_side"]
    d = ellipsoid(
        x,
        y,
        z,
        (0.0, 2.3 + 0.3 * (top - side), -1.2),
        (7.35 * w + side, 9.3 * h + 0.7 * top + 0.3 * side, 9.4 + 0.5 * (top + side)),
    )
    back = g["hair_low"] + 0.55 * (z + 6.0) * (z > -6.0)
    d = smooth_max(d, back - y, 0.8)
    volume, low = g["long_volume"], g["long_low"]
    middle, half = 0.5 * (4.0 + low), 0.5 * (4.0 - low)

    def hang():
        long = ellipsoid(x, y, z, (0.0, middle, -2.0), (7.4 * w + volume + 0.04 * half, 1.35 * half, 6.9 + volume))
        return smooth_max(long, low - y, 1.5)

    d = smooth_min(d, where_worn(volume, hang, FAR, x), 2.0)
    # the free face: an egg that looks forward, tall below
    centre_y = -2.0
    t = (
        y
        - 0.07 * wave(0.45 * x)
        - 0.05 * wave(0.83 * x + 0.3)
        + g["hair_tilt"] * (x - g["hair_shift"]) * smoothstep(2.0, 6.0, y)
    )
    rise = jnp.where(t > centre_y, 1.0, 0.45)
    window = ellipsoid(
        x, centre_y + (t - centre_y) * rise, z, (0.0, centre_y, 9.2), (g["hair_window"], g["hairline"] - centre_y, 8.2)
    )
    d = smooth_max(d, -window, 1.0 + 0.6 * jnp.maximum(top, 0.0))
    size = jnp.maximum(g["bun_r"], 1.0)

    def bun():
        return ellipsoid(s, y, z, (g["bun_x"], g["bun_y"], g["bun_z"]), (size, 0.85 * size, size))

    d = smooth_min(d, where_worn(g["bun_r"], bun, FAR, x), 0.6)
    curl = g["hair_curl"]
    a = wave(0.21 * x + 0.10 * y + 0.3) + wave(0.17 * z - 0.12 * y)
    b = wave(0.23 * y + 0.09 * x) + wave(0.31 * z + 0.15 * x + 0.2 * a)
    return d + curl * (0.30 * wave(0.5 * a + 0.11 * y) * wave(0.5 * b + 0.13 * x) + 0.12 * a * b)


def hat_distance(g, x, y, z):
    """Signed distance to the hat: a cap or a beanie."""
    top = jnp.clip(g["hair_top"], 0.3, 1.6) + 0.55
    side = jnp.clip(g["hair_side"], 0.3, 1.6) + 0.5
    w, h = g["head_width"], g["head_height"]

    def brim():
        tilted = y - edge - 0.3 + 0.02 * x * x
        return ellipsoid(x, tilted, z, (0.0, 0.0, 8.5 + side), (6.3, 0.45, 5.6))

    dome = ellipsoid(x, y, z, (0.0, 2.3, -1.0), (7.35 * w + side, 9.3 * h + top, 9.6 + side))
    edge = g["hat_y"] + 0.16 * (z - 8.0)
    dome = smooth_max(dome, edge - y, 0.5)
    return smooth_min(dome, where_worn(g["brim"], brim, FAR, x), 0.3)


def cloth_distance(g, x, y, z):
    """Signed distance to shoulders and chest, which stay where they are while the head turns."""
    a, b, n, c = g["shoulder_a"], g["shoulder_b"], g["neck_end"], g["chest"]
    d = capsule(x, y, z, (a[0], a[1], a[2]), (b[0], b[1], b[2]), 6.0, 6.0)
    return smooth_min(d, capsule(x, y, z, (n[0], n[1], n[2]), (c[0], c[1], c[2]), g["neck_width"] + 1.0, 11.0), 3.0)


def relief(g, x, y, z):
    """Folds and wrinkles, for normals only: added to the distance, positive where the skin sinks."""
    s = jnp.abs(x)
    au = g["au"]
    front = smoothstep(3.5, 6.5, z)
    brow, _, _ = brow_line(g, s)
    # forehead lines follow the brows
    above = y - brow - 0.9
    lines = wave(above * 0.62) * bump((above - 1.9) / 2.2) * 0.16
    d = lines * (au[1] * bump(s / 4.2) + au[2] * smoothstep(1.0, 4.0, s)) * smoothstep(6.5, 4.0, s)
    # frown lines between the brows, wrinkles across the root of the nose
    d = d + 0.30 * au[4] * bump((s - 0.62) / 0.42) * bump((y - 1.9) / 1.5)
    d = d + 0.26 * au[9] * wave((y - 0.1) * 0.85) * bump((y - 0.1) / 1.7) * bump(s / 1.7)
    # nasolabial fold: from the nostril's wing past the corner of the mouth
    x0, y0 = g["ala_x"] + 0.55, g["ala_y"] + 0.35
    x1, y1 = g["mouth_half"] + 0.75, g["corner_y"] - 0.2
    t = jnp.clip((y0 - y) / (y0 - y1), 0.0, 1.0)
    fold = s - (x0 + (x1 - x0) * t * (1.35 - 0.35 * t))
    ends = bump((y - 0.5 * (y0 + y1)) / (0.62 * (y0 - y1) + 0.3))
    depth = 0.04 + 0.32 * au[12] + 0.38 * au[9] + 0.08 * au[15] + 0.12 * au[20]
    d = d + depth * ends * (bump((fold - 0.05) / 0.75) - 0.6 * bump((fold - 1.05) / 1.0))
    # bags and crow's feet, philtrum, dimpled chin
    upper, lower, u = eyelids(g, s)
    d = d + (0.10 + 0.22 * au[6]) * bump((y - lower + 0.75) / 0.4) * bump(u / 1.15)
    d = d + 0.16 * au[6] * wave((y - g["eye_y"]) * 1.1) * bump((s - g["eye_x"] - g["eye_half"] - 1.0) / 0.9) * bump(
        y / 1.2
    )
    d = d + 0.12 * bump((y - upper - 0.34) / 0.2) * bump(u / 1.1) * g["lid_crease"]
    d = d + 0.10 * bump(x / 0.42) * smoothstep(g["subnasale"] + 0.3, g["subnasale"] - 0.2, y) * smoothstep(
        g["mouth_y0"] + 0.3, g["mouth_y0"] + 0.9, y
    )
    lower_edge = g["mouth_y0"] - g["gap_low"] - g["lip_low"]
    d = d + (0.16 + 0.25 * au[17]) * bump((y - lower_edge + 0.5) / 0.55) * bump(x / 2.4)
    d = d + 0.08 * au[17] * wave(x * 1.1 + 0.3) * wave(y * 1.1) * bump(x / 1.8) * bump((y - g["chin_y"] - 0.3) / 1.4)
    return d * front


def landmark_rays(g):
    """Rays whose first point on the skin is a landmark: origins and directions, [3, 68], in iBUG order."""
    k = jnp.arange(17) / 16
    turn = jnp.pi * k
    outward = jnp.stack([-jnp.cos(turn), -jnp.sin(turn), jnp.zeros(17)])
    middle = jnp.stack([jnp.zeros(17), jnp.full(17, -0.9), 2.0 + 5.2 * jnp.sin(turn) ** 2])
    # what follows is seen from the front: x and y are known
    x, y = [], []

    def both(s, heights):  # the subject's right (image left) from outside in, the left from inside out
        x.append(jnp.concatenate([-s[::-1], s]))
        y.append(jnp.concatenate([heights[::-1], heights]))

    s = g["brow_x0"] + (g["brow_x1"] - g["brow_x0"]) * jnp.array([0.04, 0.27, 0.5, 0.73, 0.96])
    both(s, brow_line(g, s)[0])
    x.append(jnp.zeros(4))
    y.append(0.75 + (g["nose_y"] - 0.75) * jnp.array([0.0, 0.34, 0.68, 1.0]))
    x.append(jnp.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * (g["ala_x"] + 0.25))
    y.append(g["ala_y"] - jnp.array([0.35, 0.55, 0.7, 0.55, 0.35]))
    s = g["eye_x"] + g["eye_half"] * jnp.array([-0.99, -0.36, 0.36, 0.99])
    up, low, _ = eyelids(g, s)
    x += [-s[::-1], -s[1:3], s, s[2:0:-1]]
    y += [up[::-1], low[1:3], up, low[2:0:-1]]
    outer = jnp.array([-0.99, -0.62, -0.22, 0.0, 0.22, 0.62, 0.99]) * g["mouth_half"]
    inner = jnp.array([-0.9, -0.4, 0.0, 0.4, 0.9]) * g["mouth_half"]
    outer_up, _, _, outer_low, _ = lips(g, outer)
    _, inner_up, inner_low, _, _ = lips(g, inner)
    x += [outer, outer[5:0:-1], inner, inner[3:0:-1]]
    y += [outer_up, outer_low[5:0:-1], inner_up, inner_low[3:0:-1]]
    x, y = jnp.concatenate(x), jnp.concatenate(y)
    front = jnp.stack([x, y, jnp.full_like(x, 15.0)])
    ahead = jnp.broadcast_to(jnp.array([[0.0], [0.0], [1.0]]), front.shape)
    return jnp.concatenate([middle + 14.0 * outward, front], 1), -jnp.concatenate([outward, ahead], 1)
