"""The light that surfaces send to the camera: materials, sky, key light with its shadow, highlights."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from synthetic_faces import appearance, face, geometry
from synthetic_faces.appearance import REGION, colour, dot, edge, mix, unit
from synthetic_faces.geometry import smoothstep
from synthetic_faces.tracing import distance, settle, surfaces

TETRAHEDRON = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)  # its corners
_SHADOW_STEPS = 5


class Surface(NamedTuple):
    """Materials at the points [N] of a picture, and their appearance.

    Attributes:
      normal: [3, N].
      albedo: colour, [3, N].
      face: from `face.paint_face`.
      masked: coverage [N] by a mask, `hair`, `cloth` and `hat` by these.
      bare_skin: coverage [N] by skin that nothing lies on, `bare_hair` by hair, `eye` by an eyeball.
    """

    normal: jax.Array
    albedo: jax.Array
    face: dict
    masked: jax.Array
    hair: jax.Array
    cloth: jax.Array
    hat: jax.Array
    bare_skin: jax.Array
    bare_hair: jax.Array
    eye: jax.Array


def shade(g, p, ray, pixel):
    """Colour [3, N] (linear) and region [N] of surface points `p`; `pixel` is a pixel's width there."""
    surface = _surface(g, p, ray, pixel)
    sky, lit = _sky(g, p, surface.normal), _lit(g, p, surface.normal)
    facing = dot(surface.normal, jnp.broadcast_to(g["light"][:, None], surface.normal.shape))
    radiance, lit = _diffuse(g, surface, facing, sky, lit)
    radiance = _highlights(g, ray, surface, facing, lit, radiance)
    radiance = _rims(g, ray, surface, sky, radiance)
    radiance = radiance + 0.85 * _catchlight(g, p, pixel, surface.eye) * colour(g["key"], facing)
    return radiance, _region(surface)


def _surface(g, p, ray, pixel) -> Surface:
    normal, (skin, hair, hat, cloth) = _normal(g, p, pixel)
    strands = settle(g, appearance.hair_strands(g, p))
    is_hair = edge(skin - hair + 0.5 * (strands[1] + 0.1), 1.2 * pixel + 0.2)
    is_cloth = edge(jnp.minimum(skin, hair) - cloth, pixel)
    is_hat = edge(jnp.minimum(jnp.minimum(skin, hair), cloth) - hat, pixel)

    painted = settle(g, face.paint_face(g, p, ray, pixel))
    masked, mask_colour = appearance.paint_mask(g, p, pixel)
    bare_skin = (1 - is_hair) * (1 - is_cloth) * (1 - is_hat) * (1 - masked)
    albedo = mix(painted["albedo"], mask_colour, masked)
    hair_colour, hair_normal = settle(g, appearance.paint_hair(g, p, strands, normal))
    albedo = mix(albedo, hair_colour, is_hair)
    albedo = mix(albedo, appearance.paint_cloth(g, p), is_cloth)
    albedo = mix(albedo, appearance.paint_hat(g, p), is_hat)

    eye = painted["eye"] * bare_skin
    ball = jnp.stack([jnp.sign(p[0]) * (jnp.abs(p[0]) - g["eye_x"]), p[1] - g["eye_y"], jnp.full_like(p[0], 1.7)])
    normal = unit(mix(normal, unit(ball), 0.85 * eye))
    bare_hair = is_hair * (1 - is_cloth) * (1 - is_hat)
    normal, albedo = settle(g, (unit(mix(normal, hair_normal, bare_hair)), albedo))
    return Surface(normal, albedo, painted, masked, is_hair, is_cloth, is_hat, bare_skin, bare_hair, eye)


def _normal(g, p, pixel):
    """Normal [3, N], from a tetrahedron as wide as a pixel: finer relief would only flicker; the `surfaces` at `p`."""
    e = jnp.clip(0.45 * pixel, 0.03, 0.25)
    offsets = np.concatenate([TETRAHEDRON, np.zeros((1, 3), np.float32)])  # its corners, and the point itself
    probes = p[:, None] + jnp.asarray(offsets.T)[:, :, None] * e
    skin, *others = settle(g, surfaces(g, *probes))
    bumpy = skin[:4] + geometry.relief(g, *probes[:, :4])
    field = functools.reduce(jnp.minimum, (other[:4] for other in others), bumpy)
    normal = settle(g, unit(jnp.einsum("ci,cn->in", TETRAHEDRON, settle(g, field))))
    return normal, [distance[4] for distance in (skin, *others)]


def _sky(g, p, normal):
    """How much [N] of the sky is open above a point."""
    reach = jnp.array([0.7, 2.2])[:, None]
    open_ = settle(g, distance(g, *(p[:, None] + normal[:, None] * reach))) * (1.0 / reach)
    return jnp.clip(0.25 + 0.75 * (0.55 * jnp.clip(open_[0], 0, 1) + 0.45 * jnp.clip(open_[1], 0, 1)), 0.0, 1.0)


def _lit(g, p, normal):
    """How much [N] of the key light reaches a point: 0 in its shadow."""
    light, start = g["light"][:, None], p + normal * 0.25

    def toward_light(_, state):
        t, lit = state
        d = settle(g, distance(g, *(start + light * t)))
        return t + jnp.clip(d, 0.35, 3.0), jnp.minimum(lit, 0.5 + 0.5 * d / (0.14 * t + 0.1))

    _, lit = jax.lax.fori_loop(0, _SHADOW_STEPS, toward_light, (jnp.full_like(p[0], 0.35), jnp.ones_like(p[0])))
    return smoothstep(0.0, 1.0, lit)


def _diffuse(g, surface, facing, sky, lit):
    """Radiance [3, N] without highlights, and `lit` by colour: skin lets light creep round the terminator, red most."""
    scatter = surface.bare_skin * (1 - surface.face["wet"])
    wrap = colour([0.42, 0.20, 0.14], facing) * mix(0.35, 1.0, scatter)
    diffuse = jnp.clip((facing + wrap) / (1 + wrap), 0.0, 1.0)
    lit = jnp.clip(mix(lit, colour([0.20, 0.04, 0.02], lit) + lit * 0.9, scatter), 0.0, 1.0)
    above = 0.5 + 0.5 * dot(surface.normal, jnp.broadcast_to(g["up"][:, None], surface.normal.shape))
    key, fill = colour(g["key"], facing), colour(g["fill"], facing)
    ambient = (
        fill * (0.42 + 0.40 * above) * mix(colour([0.50, 0.30, 0.26], sky) + 0.0 * sky, 1.0, sky) * (0.35 + 0.65 * sky)
    )
    return surface.albedo * (1.75 * key * diffuse * lit + 0.72 * ambient), lit


def _highlights(g, ray, surface, facing, lit, radiance):
    """Radiance with highlights: skin broad, eyes and teeth sharp, hair in bands across the strands."""
    normal, bare_skin, bare_hair = surface.normal, surface.bare_skin, surface.bare_hair
    half = unit(g["light"][:, None] - ray)
    shine = jnp.clip(dot(normal, half), 0.0, 1.0)
    skin_shine = surface.face["gloss"] * (0.30 * shine**14 + 0.35 * shine**50)
    skin_shine = mix(skin_shine, 1.4 * shine**180, surface.face["wet"])
    zero, one = jnp.zeros_like(facing), jnp.ones_like(facing)
    along = dot(unit(jnp.stack([zero, one, zero]) - normal * normal[1]), half)
    band = jnp.clip(1.0 - along * along, 0.0, 1.0)
    hair_shine = 0.5 * band**30 * jnp.clip(facing + 0.3, 0.0, 1.0)
    bare_shine = bare_skin * skin_shine + 0.04 * (1 - bare_skin) * (1 - bare_hair) * shine**12
    key = colour(g["key"], facing)
    radiance = radiance + key * lit * bare_shine
    return radiance + key * lit * bare_hair * hair_shine * (colour(g["hair"], band) * 1.6 + 0.035)


def _rims(g, ray, surface, sky, radiance):
    """Radiance with light from behind, and what a surface seen at a grazing angle mirrors of the sky."""
    normal = surface.normal
    grazing = (1.0 - jnp.clip(-dot(normal, ray), 0.0, 1.0)) ** 4
    rim = jnp.clip(dot(normal, jnp.broadcast_to(g["rim_direction"][:, None], normal.shape)), 0.0, 1.0)
    fill = colour(g["fill"], sky)
    radiance = radiance + fill * g["rim"] * rim * (grazing * 0.9 + 0.1) * (surface.albedo + 0.06) * sky
    return radiance + fill * 0.10 * grazing * sky * (1 - surface.eye) * surface.bare_skin


def _catchlight(g, p, pixel, eye):
    """Coverage [N] of the spark in each eye, independent of the light."""
    x = jnp.abs(p[0]) - g["eye_x"] - jnp.sign(p[0]) * (g["gaze"][0] * 1.1 + 0.24 * jnp.sign(g["light"][0]))
    y = p[1] - 0.10 - g["gaze"][1] * 0.8 - 0.30
    return edge(0.17 - jnp.sqrt(x**2 + y**2), pixel * 1.2 + 0.05) * eye


def _region(surface):
    region = jnp.where(surface.masked > 0.5, REGION["occluder"], surface.face["region"])
    region = jnp.where(surface.hair > 0.5, REGION["hair"], region)
    region = jnp.where(surface.cloth > 0.5, REGION["clothes"], region)
    return jnp.where(surface.hat > 0.5, REGION["hat"], region)
