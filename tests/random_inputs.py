"""Random inputs of tests, seeded for each test by pytest-randomly: `--randomly-seed` makes them the same again."""

import random

import jax
import numpy as np


def generator() -> np.random.Generator:
    """A generator of its own; the second call in a test gives another than the first."""
    return np.random.default_rng(random.getrandbits(64))


def random_like(shapes):
    """Variables of a network with these shapes; variances and scales, which are vectors, are positive."""
    rng = generator()
    return jax.tree.map(lambda x: rng.uniform(0 if x.ndim < 2 else -0.5, 0.5, x.shape).astype(x.dtype), shapes)
