"""Float64 NumPy pieces that the tests of the losses share."""

import jax
import jax.numpy as jnp
import numpy as np


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def cosine(a, b):
    return np.sum(a * b, -1) / np.sqrt(np.sum(a * a, -1) * np.sum(b * b, -1))


def check_gradient(loss, reference, *arguments, step=1e-6, tolerance=2e-5):
    """Every gradient of `loss` in float32 against central differences of `reference` in float64.

    `tolerance` is relative to the largest entry of all gradients.
    """
    arguments = [np.asarray(a, np.float64) for a in arguments]
    slopes = jax.grad(loss, argnums=tuple(range(len(arguments))))(*[jnp.asarray(a, jnp.float32) for a in arguments])
    expected = []
    for argument in arguments:
        expected.append(np.zeros_like(argument))
        for index in np.ndindex(argument.shape):
            value = argument[index]
            argument[index] = value + step
            above = reference(*arguments)
            argument[index] = value - step
            below = reference(*arguments)
            argument[index] = value
            expected[-1][index] = (above - below) / (2 * step)
    scale = max(1e-3, *(np.abs(e).max() for e in expected))
    for slope, e in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(slope, e, atol=tolerance * scale, rtol=0)
