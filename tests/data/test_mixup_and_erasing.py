"""Mixup and random erasing: what they change, how often, and by how much."""

import jax
import jax.numpy as jnp
import numpy as np
from random_inputs import generator

from facejax.data.erasing import random_erasing
from facejax.data.mixup import mixup


def test_mixup_blends_images_as_it_blends_labels():
    images = jnp.asarray(generator().normal(size=(6, 4, 4, 3)), jnp.float32)
    mixed, labels, shares = mixup(jax.random.key(1), images, jnp.arange(6), alpha=0.2, probability=1.0)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    for image, pair, share in zip(mixed, labels, shares, strict=True):
        np.testing.assert_allclose(image, share[0] * images[pair[0]] + share[1] * images[pair[1]], atol=1e-6)
    assert [tuple(pair) for pair in labels.tolist()] == [(i, 5 - i) for i in range(6)]


def test_mixup_happens_with_its_probability():
    def first_share(key):
        return mixup(key, jnp.zeros((2, 1, 1, 3)), jnp.arange(2), alpha=1.0, probability=0.3)[2][0, 0]

    shares = np.asarray(jax.jit(jax.vmap(first_share))(jax.random.split(jax.random.key(0), 2000)))
    assert abs((shares < 1).mean() - 0.3) < 0.05
    assert abs(shares[shares < 1].mean() - 0.5) < 0.06


def test_erasing_paints_one_rectangle_of_the_right_size():
    height, width, count = 40, 50, 4000
    erase = jax.jit(lambda key, images: random_erasing(key, images, probability=0.5, scale=(0.02, 0.1), value=7.0))
    erased = np.asarray(erase(jax.random.key(0), jnp.zeros((count, height, width, 1)))[..., 0] == 7)
    assert abs(erased.any((1, 2)).mean() - 0.5) < 0.03
    erased = erased[erased.any((1, 2))]
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    np.testing.assert_array_equal(erased.sum((1, 2)), rows * columns)
    shares = rows * columns / (height * width)
    assert shares.min() > 0.015 and shares.max() < 0.11
    assert abs(shares.mean() - 0.06) < 0.003
    # Everywhere, rims included.
    assert erased[:, 0].any() and erased[:, -1].any() and erased[:, :, 0].any() and erased[:, :, -1].any()
