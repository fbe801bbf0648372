"""Random inputs of tests, seeded for each test by pytest-randomly: `--randomly-seed` makes them the same again."""

import random

import numpy as np


def generator() -> np.random.Generator:
    """A generator of its own; the second call in a test gives another than the first."""
    return np.random.default_rng(random.getrandbits(64))
