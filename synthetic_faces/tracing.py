"""Where a ray through a pixel meets the head: camera, distance to all surfaces, sphere tracing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from synthetic_faces import geometry
from synthetic_faces.appearance import unit
from synthetic_faces.geometry import FAR, where_worn

_PIVOT = np.array([0.0, -3.0, -1.0], np.float32)  # the point about which the head turns
_CENTRE = np.array([0.0, -1.2, 4.0], np.float32)  # of the face as a detector boxes it: the camera is aimed there


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
    """Makes XLA compute `values` once. Fused into several users, cheap operations are computed again for each of them,
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


def at(g, ray, t):
    """Points [3, N] on rays [3, N] at distances `t` [N] from the camera."""
    return g["camera"][:, None] + ray * t


def grid(size, step):
    """Image positions u, v [n n] of the centres of blocks `step` pixels across, and n, how many fit along a side."""
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
        d = settle(g, distance(g, *at(g, ray, t)))
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
        return t + 0.92 * jnp.maximum(distance(g, *at(g, ray, t)) - 0.72 * width * t, 0.0)

    return jax.lax.fori_loop(0, steps, step, t)
