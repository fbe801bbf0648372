"""From scenes to pictures and labels: camera, sphere tracing, shading, landmarks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.face_renderer import appearance, geometry
from data_prep.face_renderer.appearance import REGION, colour, dot, edge, mix, unit
from data_prep.face_renderer.geometry import FAR, bump, smoothstep, where_worn

_PIVOT = jnp.array([0.0, -3.0, -1.0])  # the point about which the head turns
_CENTRE = jnp.array([0.0, -1.2, 4.0])  # of the face as a detector boxes it: the camera is aimed there
_HAND = (  # wrist, palm, four fingers, thumb: start, end, radius
    (0.0, -22.0, 0.0, -6.5, 3.3),
    (-1.1, -6.0, 1.1, -6.0, 3.4),
    (-3.3, -4.0, -3.9, 2.2, 0.92),
    (-1.2, -3.0, -1.4, 4.0, 0.98),
    (0.95, -3.0, 1.15, 3.6, 0.95),
    (2.9, -4.0, 3.6, 1.6, 0.85),
    (-3.4, -8.0, -6.3, -3.4, 1.1),
)
_TETRAHEDRON = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
_CONES = (
    (4, 14),
    (2, 5),
)  # blocks of so many pixels across are traced as one cone, for so many steps, before the pixels
_RAY_STEPS, _SHADOW_STEPS, _LANDMARK_STEPS = 10, 5, 20


def rotation(pose):
    """Matrix [3, 3] from the head's frame to the camera's, for yaw, pitch, roll in degrees.

    Positive yaw turns the nose to the image's right, positive pitch up, positive roll clockwise as the viewer sees it.
    """
    yaw, pitch, roll = jnp.radians(pose)
    cy, sy, cp, sp, cr, sr = jnp.cos(yaw), jnp.sin(yaw), jnp.cos(pitch), jnp.sin(pitch), jnp.cos(roll), jnp.sin(roll)
    turn = jnp.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = jnp.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = jnp.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return jnp.matmul(tilt, jnp.matmul(turn, nod, precision="highest"), precision="highest")


def prepare(scene):
    """Everything about one face that does not depend on the pixel."""
    g = geometry.face_shape(scene)
    r = rotation(scene["pose"])

    def fixed(x, y, z):  # a point of the body, in the head's frame
        return jnp.matmul(r.T, jnp.array([x, y, z]) - _PIVOT, precision="highest") + _PIVOT

    g["rotation"] = r
    g["offset"] = scene["offset"] - (r @ (_CENTRE - _PIVOT) + _PIVOT)[:2]
    g["one"] = jnp.cos(0.0 * scene["distance"])
    g["neck_end"] = fixed(0.0, -18.0, -4.0)
    g["shoulder_a"], g["shoulder_b"] = fixed(-13.0, -21.0, -4.0), fixed(13.0, -21.0, -4.0)
    g["chest"] = fixed(0.0, -34.0, -3.0)
    g["camera"] = jnp.matmul(r.T, jnp.array([0.0, 0.0, scene["distance"]]) - _PIVOT, precision="highest") + _PIVOT
    g["light"] = jnp.matmul(r.T, scene["key_direction"], precision="highest")
    g["rim_direction"] = r.T @ jnp.array([0.8 * scene["rim_side"], 0.35, -0.5])
    g["up"] = r.T @ jnp.array([0.0, 1.0, 0.0])
    return g


def settle(g, values):
    """Has XLA compute `values` once. Fused into several users, cheap operations are computed again for each of them,
    a division (here by a 1 that the compiler does not know) is not. Multiply afterwards: two divisions become one.
    """
    return jax.tree.map(lambda v: v / g["one"] if v.dtype == jnp.float32 else v, values)


def surfaces(g, x, y, z):
    """Signed distances to skin, hair, hat and clothes."""
    hair = where_worn(g["hair_top"], lambda: geometry.hair_distance(g, x, y, z), FAR, x)
    hat = where_worn(g["hat"], lambda: geometry.hat_distance(g, x, y, z), FAR, x)
    return geometry.skin_distance(g, x, y, z), hair, hat, geometry.cloth_distance(g, x, y, z)


def distance(g, x, y, z):
    """Signed distance to everything."""
    return functools.reduce(jnp.minimum, surfaces(g, x, y, z))


def rays(g, u, v):
    """Directions [3, N] in the head's frame through image positions u (right), v (down) in 0..1."""
    x = (u - 0.5) * g["extent"] - g["offset"][0]
    y = (0.5 - v) * g["extent"] - g["offset"][1]
    d = unit(jnp.stack([x, y, jnp.full_like(x, -1.0) * g["distance"]]))
    return jnp.einsum("ji,jn->in", g["rotation"], d, precision="highest")


def project(g, points):
    """Image positions [N, 2] in 0..1 of points [N, 3] of the head's frame."""
    p = jnp.matmul(points - _PIVOT, g["rotation"].T, precision="highest") + _PIVOT
    scale = g["distance"] / (g["distance"] - p[:, 2]) / g["extent"]
    return jnp.stack([0.5 + p[:, 0] * scale + g["offset"][0] / g["extent"],
                      0.5 - p[:, 1] * scale - g["offset"][1] / g["extent"]], axis=1)  # fmt: skip


def _at(g, ray, t):
    return g["camera"][:, None] + ray * t


def _grid(size, step):
    n = -(-size // step)
    c = (jnp.arange(n) * step + 0.5 * step) / size
    v, u = jnp.meshgrid(c, c, indexing="ij")
    return u.ravel(), v.ravel(), n


def trace(g, ray, t, steps, pixel):
    """Follows rays from distances `t`. Returns where they end or, if they miss, were nearest to a surface, and how
    much of a pixel there the surface covers.
    """

    def step(_, state):
        t, miss, _, nearest, t_nearest = state
        d = settle(g, distance(g, *_at(g, ray, t)))
        previous, miss = miss, d * (1.0 / (pixel * t))
        leaving = (miss > previous) & (miss > 1.0)  # past a rim: hurry on to what may be behind it
        closer = miss < nearest
        stride = jnp.where(leaving, 3.0 * d + 2.0 * pixel * t, 1.15 * d)
        return t + stride, miss, leaving, jnp.where(closer, miss, nearest), jnp.where(closer, t, t_nearest)

    far = jnp.full_like(t, 1e3)
    t, miss, leaving, nearest, t_nearest = jax.lax.fori_loop(0, steps, step, (t, far, t < 0, far, t))
    missed = (leaving & (miss * pixel * t > 1.2)) | (t > g["distance"] + 40.0)
    # Past a rim, but too slowly to tell what is behind: taken for the rim.
    at_rim = missed | (leaving & (nearest < 1.0))
    return jnp.where(at_rim, t_nearest, t), jnp.where(missed, jnp.clip(1.0 - nearest, 0.0, 1.0), 1.0)


def trace_cones(g, ray, t, steps, width):
    """Follows cones `width` wide at distance 1 from distances `t` as far as nothing can be in them."""

    def step(_, t):
        return t + 0.92 * jnp.maximum(distance(g, *_at(g, ray, t)) - 0.72 * width * t, 0.0)

    return jax.lax.fori_loop(0, steps, step, t)


def shade(g, p, ray, pixel):
    """Colour [3, N] (linear) and region [N] of surface points `p`; `pixel` is a pixel's width there."""
    # normal from a tetrahedron about the point, as wide as a pixel: finer relief would only flicker
    e = jnp.clip(0.45 * pixel, 0.03, 0.25)
    offsets = np.concatenate([_TETRAHEDRON, np.zeros((1, 3), np.float32)])  # its corners, and the point itself
    probes = p[:, None] + jnp.asarray(offsets.T)[:, :, None] * e
    skin, hair, hat, cloth = settle(g, surfaces(g, *probes))
    bumpy = skin[:4] + geometry.relief(g, *probes[:, :4])
    field = functools.reduce(jnp.minimum, (hair[:4], hat[:4], cloth[:4]), bumpy)
    normal = settle(g, unit(jnp.einsum("ci,cn->in", _TETRAHEDRON, settle(g, field))))
    skin, hair, hat, cloth = skin[4], hair[4], hat[4], cloth[4]
    strands = settle(g, appearance.hair_strands(g, p))
    is_hair = edge(skin - hair + 0.5 * (strands[1] + 0.1), 1.2 * pixel + 0.2)
    is_cloth = edge(jnp.minimum(skin, hair) - cloth, pixel)
    is_hat = edge(jnp.minimum(jnp.minimum(skin, hair), cloth) - hat, pixel)

    face = settle(g, appearance.paint_face(g, p, ray, pixel))
    masked, mask_colour = appearance.paint_mask(g, p, pixel)
    bare_skin = (1 - is_hair) * (1 - is_cloth) * (1 - is_hat) * (1 - masked)
    albedo = mix(face["albedo"], mask_colour, masked)
    hair_colour, hair_normal = settle(g, appearance.paint_hair(g, p, strands, normal))
    albedo = mix(albedo, hair_colour, is_hair)
    albedo = mix(albedo, appearance.paint_cloth(g, p), is_cloth)
    albedo = mix(albedo, appearance.paint_hat(g, p), is_hat)

    eye = face["eye"] * bare_skin
    ball = jnp.stack([jnp.sign(p[0]) * (jnp.abs(p[0]) - g["eye_x"]), p[1] - g["eye_y"], jnp.full_like(p[0], 1.7)])
    normal = unit(mix(normal, unit(ball), 0.85 * eye))
    bare_hair = is_hair * (1 - is_cloth) * (1 - is_hat)
    normal, albedo = settle(g, (unit(mix(normal, hair_normal, bare_hair)), albedo))

    # occlusion of the sky, shadow of the key light
    light = g["light"][:, None]
    reach = jnp.array([0.7, 2.2])[:, None]
    open_ = settle(g, distance(g, *(p[:, None] + normal[:, None] * reach))) * (1.0 / reach)
    sky = jnp.clip(0.25 + 0.75 * (0.55 * jnp.clip(open_[0], 0, 1) + 0.45 * jnp.clip(open_[1], 0, 1)), 0.0, 1.0)
    start = p + normal * 0.25

    def toward_light(_, state):
        t, lit = state
        d = settle(g, distance(g, *(start + light * t)))
        return t + jnp.clip(d, 0.35, 3.0), jnp.minimum(lit, 0.5 + 0.5 * d / (0.14 * t + 0.1))

    _, lit = jax.lax.fori_loop(0, _SHADOW_STEPS, toward_light, (jnp.full_like(p[0], 0.35), jnp.ones_like(p[0])))
    lit = smoothstep(0.0, 1.0, lit)

    # skin lets light creep round the terminator, red the furthest
    facing = dot(normal, jnp.broadcast_to(light, normal.shape))
    scatter = bare_skin * (1 - face["wet"])
    wrap = colour([0.42, 0.20, 0.14], facing) * mix(0.35, 1.0, scatter)
    diffuse = jnp.clip((facing + wrap) / (1 + wrap), 0.0, 1.0)
    lit = jnp.clip(mix(lit, colour([0.20, 0.04, 0.02], lit) + lit * 0.9, scatter), 0.0, 1.0)
    above = 0.5 + 0.5 * dot(normal, jnp.broadcast_to(g["up"][:, None], normal.shape))
    key, fill = colour(g["key"], facing), colour(g["fill"], facing)
    ambient = (
        fill * (0.42 + 0.40 * above) * mix(colour([0.50, 0.30, 0.26], sky) + 0.0 * sky, 1.0, sky) * (0.35 + 0.65 * sky)
    )
    radiance = albedo * (1.75 * key * diffuse * lit + 0.72 * ambient)

    # highlights: skin broad, eyes and teeth sharp, hair in bands across the strands
    half = unit(light - ray)
    shine = jnp.clip(dot(normal, half), 0.0, 1.0)
    grazing = (1.0 - jnp.clip(-dot(normal, ray), 0.0, 1.0)) ** 4
    skin_shine = face["gloss"] * (0.30 * shine**14 + 0.35 * shine**50)
    skin_shine = mix(skin_shine, 1.4 * shine**180, face["wet"])
    along = dot(
        unit(jnp.stack([jnp.zeros_like(p[0]), jnp.ones_like(p[0]), jnp.zeros_like(p[0])]) - normal * normal[1]), half
    )
    band = jnp.clip(1.0 - along * along, 0.0, 1.0)
    hair_shine = 0.5 * band**30 * jnp.clip(facing + 0.3, 0.0, 1.0)
    bare_shine = bare_skin * skin_shine + 0.04 * (1 - bare_skin) * (1 - bare_hair) * shine**12
    radiance = radiance + key * lit * bare_shine
    radiance = radiance + key * lit * bare_hair * hair_shine * (colour(g["hair"], band) * 1.6 + 0.035)
    rim = jnp.clip(dot(normal, jnp.broadcast_to(g["rim_direction"][:, None], normal.shape)), 0.0, 1.0)
    radiance = radiance + fill * g["rim"] * rim * (grazing * 0.9 + 0.1) * (albedo + 0.06) * sky
    radiance = radiance + fill * 0.10 * grazing * sky * (1 - eye) * bare_skin
    # a catchlight in each eye whatever the light
    catch = (
        jnp.abs(p[0]) - g["eye_x"] - jnp.sign(p[0]) * (g["gaze"][0] * 1.1 + 0.24 * jnp.sign(g["light"][0])),
        p[1] - 0.10 - g["gaze"][1] * 0.8 - 0.30,
    )
    spark = edge(0.17 - jnp.sqrt(catch[0] ** 2 + catch[1] ** 2), pixel * 1.2 + 0.05) * eye
    radiance = radiance + 0.85 * spark * key

    region = jnp.where(masked > 0.5, REGION["occluder"], face["region"])
    region = jnp.where(is_hair > 0.5, REGION["hair"], region)
    region = jnp.where(is_cloth > 0.5, REGION["clothes"], region)
    region = jnp.where(is_hat > 0.5, REGION["hat"], region)
    return radiance, region


def _glasses(g, ray, t_surface, pixel, radiance, region):
    """Lays glasses over the picture: lenses in two planes, bent at the bridge, temples as lines to the ears."""
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


def _held_up(g, u, v, pixel, radiance, region):
    """Lays a hand or a card in front of the face; `u`, `v` in 0..1 across the image."""
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


def _tone(radiance):
    """Linear radiance to uint8 sRGB: a soft shoulder, then gamma."""
    x = jnp.maximum(radiance, 0.0) * 1.05
    x = x * (1.0 + x * 0.12) / (1.0 + 0.55 * x)
    x = jnp.clip(x * 1.18, 0.0, 1.0)
    return jnp.where(x < 0.0031308, 12.92 * x, 1.055 * jnp.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)


def soften_steps(radiance, depth, size):
    """Smooths colours where one surface ends in front of another, `depth` (0: nothing) makes a step."""
    c = jnp.pad(radiance.reshape(3, size, size), ((0, 0), (1, 1), (1, 1)), mode="edge")
    z = jnp.pad(depth.reshape(size, size), 1, mode="edge")
    around = ((0, 1), (2, 1), (1, 0), (1, 2))
    far, near = z[1:-1, 1:-1], z[1:-1, 1:-1]
    mean = 0.0
    for i, j in around:
        d = z[i : i + size, j : j + size]
        far, near = jnp.maximum(far, d), jnp.minimum(near, d)
        mean = mean + 0.25 * c[:, i : i + size, j : j + size]
    weight = 0.55 * smoothstep(1.0, 2.0, far - near) * (near > 0)
    return mix(c[:, 1:-1, 1:-1], mean, weight).reshape(3, -1)


def picture(g, size):
    """Image [size, size, 3] in 0..1 and regions [size, size] uint8 of one prepared scene."""
    centre = g["distance"]
    pixel = g["extent"] / size / centre  # a pixel's width at distance 1
    t = jnp.full((1, 1), 1.0) * (centre - 17.0)
    for block, steps in _CONES:
        u, v, n = _grid(size, block)
        repeat = -(-n // t.shape[0])
        t = jnp.repeat(jnp.repeat(t, repeat, 0), repeat, 1)[:n, :n].ravel()
        t = trace_cones(g, rays(g, u, v), t, steps, block * pixel).reshape(n, n)
    t = jnp.repeat(jnp.repeat(t, block, 0), block, 1)[:size, :size].ravel()

    u, v, _ = _grid(size, 1)
    ray = rays(g, u, v)
    t, alpha = trace(g, ray, t, _RAY_STEPS + size // 50, pixel)
    p = _at(g, ray, t)
    radiance, region = shade(g, p, ray, pixel * t)
    behind = appearance.background(g, 2 * u - 1, 2 * v - 1)
    region = jnp.where(alpha > 0.5, region, REGION["background"])
    radiance = mix(behind, soften_steps(radiance, jnp.where(alpha > 0.5, t, 0.0), size), alpha)
    t = jnp.where(alpha > 0.5, t, FAR * 10)
    depth = t
    radiance, region = _glasses(g, ray, t, pixel * centre, radiance, region)
    radiance, region = _held_up(g, u, v, pixel * centre, radiance, region)
    image, region = _tone(radiance).reshape(3, size, size).transpose(1, 2, 0), region.reshape(size, size)
    return image, region, depth.reshape(size, size)


def landmarks(g, region, depth):
    """Landmarks [68, 2] in pixels ((0, 0) is the top left corner of the top left pixel) and whether each is seen [68].

    Hidden are points that face away, lie behind something else, are covered (hair, hat, hand, card, mask, dark
    glasses) or lie outside the image.
    """
    size = depth.shape[0]
    start, ray = geometry.landmark_rays(g)

    def step(_, t):
        return t + 0.92 * geometry.skin_distance(g, *(start + ray * t))

    p = start + ray * jax.lax.fori_loop(0, _LANDMARK_STEPS, step, jnp.zeros(start.shape[1]))
    corners = p[:, None] + jnp.asarray(_TETRAHEDRON.T)[:, :, None] * 0.2
    normal = unit(jnp.einsum("ci,cn->in", _TETRAHEDRON, geometry.skin_distance(g, *corners)))
    to_camera = g["camera"][:, None] - p
    away = jnp.sqrt(dot(to_camera, to_camera))
    is_jaw = jnp.arange(p.shape[1]) < 17  # the outline of the face is at its edge also when seen from the front
    facing = dot(normal, to_camera) / away > jnp.where(is_jaw, -0.30, 0.0)

    position = project(g, p.T)
    column, row = (jnp.clip(jnp.floor(position[:, i] * size).astype(jnp.int32), 0, size - 1) for i in (0, 1))
    # up to two pixels and a few millimetres deeper than what is drawn there
    slack = 0.5 + 2.0 * g["extent"] / size + jnp.where(is_jaw, 1.5, 0.0)
    in_front = away < depth[row, column] + slack
    there = region[row, column]
    covered = functools.reduce(
        jnp.logical_or, [there == REGION[name] for name in ("occluder", "hair", "hat", "clothes")]
    )
    covered = covered | ((there == REGION["glasses"]) & (g["sunglasses"] > 0))
    inside = jnp.all((position >= 0) & (position < 1), axis=1)
    return position * size, facing & in_front & inside & ~covered


@functools.partial(jax.jit, static_argnames="size", compiler_options={"xla_cpu_enable_fast_min_max": True})
def render(scenes, size):
    """Draws stacked scenes, one after the other: a picture does not depend on the others in its batch.

    Args:
      scenes: dict of float32 arrays [B, ...], from `scenes.stack`.
      size: pixels across.

    Returns:
      A dict: `image` uint8 [B, size, size, 3], `regions` uint8 [B, size, size] (indices of `appearance.REGIONS`),
      `landmarks` float32 [B, 68, 2] (x, y in pixels), `visibility` uint8 [B, 68].
    """

    def one(scene):
        g = prepare(scene)
        image, region, depth = picture(g, size)
        points, seen = landmarks(g, region, depth)
        return {
            "image": (image * 255.0 + 0.5).astype(jnp.uint8),
            "regions": region.astype(jnp.uint8),
            "landmarks": points,
            "visibility": seen.astype(jnp.uint8),
        }

    return jax.lax.map(one, scenes)
