"""Float64 NumPy pieces that the tests of the losses share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def cosine(a, b):
    return np.sum(a * b, -1) / np.sqrt(np.sum(a * a, -1) * np.sum(b * b, -1))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@functools.cache
def gradient(loss, count):
    """The compiled value and gradients in the first `count` arguments."""
    return jax.jit(jax.value_and_grad(loss, argnums=tuple(range(count))))


def check(loss, reference, *arguments, step=1e-6, tolerance=2e-5):
    """Value and every gradient of `loss` in float32 against `reference` and its central differences in float64.

    `tolerance` is relative to the value, and to the largest entry of all gradients.
    """
    arguments = [np.asarray(a, np.float32).astype(np.float64) for a in arguments]
    value, slopes = gradient(loss, len(arguments))(*[jnp.asarray(a, jnp.float32) for a in arguments])
    np.testing.assert_allclose(value, reference(*arguments), rtol=tolerance, atol=tolerance / 10)
    expected = []
    for argument in arguments:
        expected.append(np.zeros_like(argument))
        for index in np.ndindex(argument.shape):
            entry = argument[index]
            argument[index] = entry + step
            above = reference(*arguments)
            argument[index] = entry - step
            below = reference(*arguments)
            argument[index] = entry
            expected[-1][index] = (above - below) / (2 * step)
    scale = max(1e-3, *(np.abs(e).max() for e in expected))
    for slope, e in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(slope, e, atol=tolerance * scale, rtol=0)


def check_finite(loss, *arguments):
    """Value and gradients are finite, and the gradients are returned."""
    value, slopes = gradient(loss, len(arguments))(*arguments)
    assert np.isfinite(value)
    for slope, argument in zip(slopes, arguments, strict=True):
        assert slope.dtype == argument.dtype and np.isfinite(slope.astype(jnp.float32)).all()
    return slopes
