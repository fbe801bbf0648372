import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from random_inputs import generator

from facejax.models import mask_decoder


def test_position_encoding():
    """Element by element, as the formula reads."""
    height, width, dim = 3, 5, 12
    found = mask_decoder.sine_position_encoding(height, width, dim)
    for row in range(height):
        for column in range(width):
            for channel in range(dim):
                cell, count = (row, height) if channel < dim // 2 else (column, width)
                i = channel % (dim // 2)
                angle = 2 * math.pi * (cell + 1) / (count + 1e-6) / 10000 ** (2 * (i // 2) / (dim // 2))
                expected = math.cos(angle) if i % 2 else math.sin(angle)
                assert abs(found[row, column, channel] - expected) < 1e-6


def test_attention():
    rng = generator()
    dim, heads = 8, 2
    query, key, value = rng.normal(size=(2, 3, dim)), rng.normal(size=(2, 5, dim)), rng.normal(size=(2, 5, dim))
    params = {
        "in_proj_kernel": rng.normal(size=(3, dim, dim)),
        "in_proj_bias": rng.normal(size=(3, dim)),
        "out_proj": {"kernel": rng.normal(size=(dim, dim)), "bias": rng.normal(size=dim)},
    }
    q, k, v = (x @ params["in_proj_kernel"][i] + params["in_proj_bias"][i] for i, x in enumerate((query, key, value)))
    parts = []
    for part in np.split(np.arange(dim), heads):
        logits = q[..., part] @ k[..., part].transpose(0, 2, 1) / math.sqrt(dim / heads)
        weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        parts.append(weights @ v[..., part])
    expected = np.concatenate(parts, -1) @ params["out_proj"]["kernel"] + params["out_proj"]["bias"]

    module = mask_decoder.MultiHeadAttention(heads, dropout=0.5, dtype=jnp.float32)
    arguments = [jnp.asarray(x, jnp.float32) for x in (query, key, value)]
    found = module.apply({"params": jax.tree.map(jnp.float32, params)}, *arguments, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_dropout_only_in_training():
    decoder = mask_decoder.MaskDecoder(num_regions=3, dim=8, num_layers=1, num_heads=2, dropout=0.5)
    grid = jax.random.normal(jax.random.key(0), (2, 2, 2, 6))
    variables = jax.jit(lambda grid: decoder.init(jax.random.key(1), grid, False))(grid)

    @functools.partial(jax.jit, static_argnums=0)
    def run(train, seed):
        return decoder.apply(variables, grid, train, rngs={"dropout": jax.random.key(seed)})

    assert (run(False, 0) == run(False, 1)).all()
    assert (run(True, 0) == run(True, 0)).all()
    assert not np.allclose(run(True, 0), run(True, 1))


def test_in_proj_is_xavier_uniform_as_one_matrix():
    module = mask_decoder.MultiHeadAttention(4, 0.0, jnp.float32)
    x = jnp.zeros((1, 2, 64))
    kernel = module.init(jax.random.key(0), x, x, x, False)["params"]["in_proj_kernel"]
    bound = math.sqrt(6 / (64 + 3 * 64))
    assert 0.98 * bound < abs(kernel).max() <= bound
