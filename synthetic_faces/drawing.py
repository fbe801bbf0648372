"""Scenes drawn in batches, by the CPU."""

import functools

import jax
import numpy as np

from synthetic_faces import rendering, scenes

BATCH = 8  # images drawn by one call


def draw(faces: list[dict], size: int) -> dict[str, np.ndarray]:
    """Draws scenes (from `scenes.scene`): what `rendering.render` returns, as NumPy arrays, for any number of them.

    This runs on the CPU, whatever other devices exist: the same scenes give the same pixels on every kind of machine.
    """
    compiled = renderer(size)
    parts = []
    for start in range(0, len(faces), BATCH):
        batch = faces[start : start + BATCH]
        drawn = compiled(scenes.stack(batch + batch[-1:] * (BATCH - len(batch))))
        parts.append({name: np.asarray(value)[: len(batch)] for name, value in drawn.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@functools.cache
def renderer(size: int):
    """The renderer of `BATCH` scenes, compiled for one size once for all threads."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return rendering.render.lower(scenes.stack([scenes.scene(0, 0, 0)] * BATCH), size).compile()
