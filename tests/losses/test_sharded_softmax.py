"""The classifier split over devices against one place, and against NumPy."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.losses import arcface, cosface
from facejax.losses.sharded_softmax import Rows, margin_softmax

N, D, C = 8, 6, 24


@pytest.fixture
def case():
    rng = generator()
    share = rng.uniform(size=N)
    return (
        rng.normal(size=(N, D)),
        rng.normal(size=(C, D)),
        rng.integers(0, C - 4, (N, 2)),
        np.stack([share, 1 - share], 1),
    )


def plain(embeddings, weights, labels, shares, classes, scale=64.0, margin=0.4):
    """CosFace's softmax cross-entropy over the given classes, in float64."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = weights[classes] / np.linalg.norm(weights[classes], axis=1, keepdims=True)
    target = (shares[..., None] * (labels[..., None] == classes)).sum(1)
    logits = scale * (unit @ rows.T - margin * target)
    top = logits.max(1, keepdims=True)
    return (np.log(np.exp(logits - top).sum(1, keepdims=True)) + top - (target * logits).sum(1, keepdims=True))[:, 0]


def test_against_numpy(case):
    found = margin_softmax(*case, cosface, rows=Rows(C - 4))
    np.testing.assert_allclose(found, plain(*case, np.arange(C - 4)), rtol=1e-5)


def test_arcface_and_hard_labels(case):
    embeddings, weights, labels, _ = case
    labels = labels[:, 0]
    found = margin_softmax(embeddings, weights, labels[:, None], np.ones((N, 1)), arcface)
    logits = arcface(embeddings, weights, labels)
    expected = -jax.nn.log_softmax(logits)[jnp.arange(N), labels]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_padding_gets_no_gradient(case):
    slope = jax.grad(lambda w: margin_softmax(case[0], w, *case[2:], cosface, rows=Rows(C - 4)).sum())(case[1])
    assert np.abs(slope[: C - 4]).min(1).max() > 0 and not slope[C - 4 :].any()


def test_sampling_keeps_the_right_classes(case):
    embeddings, weights, labels, shares = case
    keep = 18

    def loss(weights, rng):
        each = margin_softmax(embeddings, weights, labels, shares, cosface, rows=Rows(C - 4, sampled=keep / C), rng=rng)
        return each.sum(), each

    slopes = jax.jit(jax.grad(loss, has_aux=True))
    kept_sets = set()
    for seed in range(4):
        slope, each = slopes(weights, jax.random.key(seed))
        kept = np.flatnonzero(np.abs(slope).max(1))
        assert len(kept) <= keep and set(labels.reshape(-1)) <= set(kept) and kept.max() < C - 4
        kept_sets.add(tuple(kept))
        # Classes whose softmax underflows have no gradient, and weigh nothing in the loss either.
        # A loss near 0 is a difference of logits of up to 64, whose float32 neighbours are 8e-6 apart.
        np.testing.assert_allclose(each, plain(embeddings, weights, labels, shares, kept), rtol=1e-4, atol=8e-6)
    assert len(kept_sets) > 1


def test_a_label_that_is_no_class_is_not_silent(case):
    embeddings, weights, labels, shares = case
    labels[0, 0] = C
    found = margin_softmax(embeddings, weights, labels, shares, cosface)
    assert np.isnan(found[0]) and not np.isnan(found[1:]).any()


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_arguments(case):
    with pytest.raises(ValueError, match="labels: expected shape"):
        margin_softmax(case[0], case[1], case[2][:, 0], case[3], cosface)
    with pytest.raises(ValueError, match=r"sampled: 0\.1 keeps 2 rows of 24"):
        margin_softmax(*case, cosface, rows=Rows(sampled=0.1), rng=jax.random.key(0))


def on_eight_devices(rng):
    """Prints the collectives of each mesh, after a comparison with one place. Runs in a process of its own."""
    mesh_of = {("data",): (8,), ("data", "model"): (2, 4)}
    n, d, c = 64, 16, 4096
    arrays = (
        rng.normal(size=(n, d)).astype(np.float32),
        rng.normal(size=(c, d)).astype(np.float32),
        rng.integers(0, 4000, (n, 2)),
        np.tile(np.float32([0.3, 0.7]), (n, 1)),
    )

    def loss(axis, embeddings, weights, labels, shares):
        return margin_softmax(embeddings, weights, labels, shares, cosface, rows=Rows(4000, axis)).mean()

    slopes = functools.partial(jax.value_and_grad, argnums=(1, 2))
    expected = jax.jit(slopes(loss), static_argnums=0)(None, *arrays)
    for names, shape in mesh_of.items():
        mesh = jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(names))
        batch, rows = (jax.NamedSharding(mesh, jax.P(name)) for name in ("data", names[-1]))
        with jax.set_mesh(mesh):
            placed = [
                jax.device_put(array, place) for array, place in zip(arrays, (batch, rows, batch, batch), strict=True)
            ]
            compiled = jax.jit(slopes(loss), static_argnums=0).lower(names[-1], *placed).compile()
            found = compiled(*placed)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
        lines = [line for line in compiled.as_text().splitlines() if "all-" in line.split("(")[0]]
        assert lines and not any(f"{c}" in line.split("(")[0] and f"[{n}" in line.split("(")[0] for line in lines), (
            lines
        )
        assert not any(f"f32[{n},{c}]" in line for line in compiled.as_text().splitlines())
        print("compared", names)


def test_eight_devices_compute_what_one_does_and_gather_no_logits():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    root = pathlib.Path(__file__).parents[2]
    seed = generator().integers(2**31)
    code = f"import numpy, test_sharded_softmax as t; t.on_eight_devices(numpy.random.default_rng({seed}))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.count("compared") == 2, result.stderr[-3000:]
