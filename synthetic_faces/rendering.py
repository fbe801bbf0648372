"""From scenes to pictures and labels."""

import functools

import jax
import jax.numpy as jnp

from synthetic_faces import appearance, geometry
from synthetic_faces.appearance import REGION, dot, mix, unit
from synthetic_faces.geometry import FAR, smoothstep
from synthetic_faces.overlays import glasses, held_up
from synthetic_faces.shading import TETRAHEDRON, shade
from synthetic_faces.tracing import at, grid, prepare, project, rays, trace, trace_cones

_CONES = (
    (4, 14),
    (2, 5),
)  # blocks of so many pixels across are traced as one cone, for so many steps, before the pixels
_RAY_STEPS, _LANDMARK_STEPS = 10, 20


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
        u, v, n = grid(size, block)
        repeat = -(-n // t.shape[0])
        t = jnp.repeat(jnp.repeat(t, repeat, 0), repeat, 1)[:n, :n].ravel()
        t = trace_cones(g, rays(g, u, v), t, steps, block * pixel).reshape(n, n)
    t = jnp.repeat(jnp.repeat(t, block, 0), block, 1)[:size, :size].ravel()

    u, v, _ = grid(size, 1)
    ray = rays(g, u, v)
    t, alpha = trace(g, ray, t, _RAY_STEPS + size // 50, pixel)
    p = at(g, ray, t)
    radiance, region = shade(g, p, ray, pixel * t)
    behind = appearance.background(g, 2 * u - 1, 2 * v - 1)
    region = jnp.where(alpha > 0.5, region, REGION["background"])
    radiance = mix(behind, soften_steps(radiance, jnp.where(alpha > 0.5, t, 0.0), size), alpha)
    t = jnp.where(alpha > 0.5, t, FAR * 10)
    depth = t
    radiance, region = glasses(g, ray, t, pixel * centre, radiance, region)
    radiance, region = held_up(g, u, v, pixel * centre, radiance, region)
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
    corners = p[:, None] + jnp.asarray(TETRAHEDRON.T)[:, :, None] * 0.2
    normal = unit(jnp.einsum("ci,cn->in", TETRAHEDRON, geometry.skin_distance(g, *corners)))
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
