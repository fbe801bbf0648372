import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, cosine, normal, softmax

from facejax import losses


def one_hot(labels, classes):
    return np.eye(classes)[labels] if np.ndim(labels) == 1 else labels


def cosface_reference(embeddings, weights, labels, scale=64.0, margin=0.4):
    cosines = cosine(embeddings[:, None], weights[None])
    return scale * (cosines - margin * one_hot(labels, len(weights)))


def arcface_reference(embeddings, weights, labels, scale=64.0, margin=0.5):
    angle = np.arccos(cosine(embeddings[:, None], weights[None]))
    moved = np.where(angle + margin < np.pi, np.cos(angle + margin), np.cos(angle) - margin * np.sin(np.pi - margin))
    target = one_hot(labels, len(weights))
    return scale * (target * moved + (1 - target) * np.cos(angle))


PAIRS = [(losses.cosface, cosface_reference), (losses.arcface, arcface_reference)]


@pytest.mark.parametrize("loss, reference", PAIRS)
@pytest.mark.parametrize("options", [{}, dict(scale=8.0, margin=1.2)])
@pytest.mark.parametrize("kind", ["int", "soft"])
def test_logits_and_gradients(loss, reference, options, kind):
    labels = np.array([3, 0, 3, 1, 5]) if kind == "int" else softmax(normal(1, 5, 6))
    direction = normal(2, 5, 6)
    embeddings, weights = normal(3, 5, 3), 2 * normal(4, 6, 3)
    np.testing.assert_allclose(
        loss(embeddings, weights, labels, **options), reference(embeddings, weights, labels, **options), atol=1e-4
    )
    check(
        lambda e, w: jnp.sum(direction * loss(e, w, labels, **options)),
        lambda e, w: np.sum(direction * reference(e, w, labels, **options)),
        embeddings,
        weights,
    )


@pytest.mark.parametrize("loss", [losses.cosface, losses.arcface])
def test_edges(loss):
    x = jnp.asarray(normal(5, 3, 4), jnp.float32)
    for embeddings in (x, -x, x + 1e-4 * x[::-1], 0 * x, x.at[0].set(0), x.astype(jnp.bfloat16)):
        check_finite(lambda e, w: jnp.sum(jax.nn.log_softmax(loss(e, w, np.arange(3)))), embeddings, x)
        assert loss(embeddings, x, np.arange(3)).dtype == jnp.float32


@pytest.mark.parametrize("margin", [0.3, 0.5, 1.5])
def test_arcface_falls_with_the_angle_all_the_way(margin):
    angle = np.linspace(0, np.pi, 2001)
    logits = losses.arcface(
        np.stack([np.cos(angle), np.sin(angle)], 1), np.eye(2), np.zeros(2001, int), scale=1.0, margin=margin
    )[:, 0]
    jump = np.abs(angle + margin - np.pi).argmin()
    steps = np.delete(np.diff(logits), [jump - 1, jump])  # the official code jumps where it changes formula
    assert (steps < 2e-6).all() and steps.sum() < -1


def test_arcface_near_the_poles():
    angle = np.concatenate([np.geomspace(1e-5, 1e-2, 50), np.pi - np.geomspace(1e-5, 1e-2, 50)])
    embeddings = np.stack([np.cos(angle), np.sin(angle)], 1)
    logits = losses.arcface(embeddings, np.eye(2)[:1], np.zeros(100, int), scale=1.0)
    np.testing.assert_allclose(logits, arcface_reference(embeddings, np.eye(2)[:1], np.zeros(100, int), 1.0), atol=3e-4)


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_arguments_are_named():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"^weights: expected shape \[C, D\] with D=3, got \[2, 4\]$"):
        losses.cosface(x, np.ones((2, 4)), np.zeros(2, int))
    with pytest.raises(TypeError, match=r"^labels: expected integers \[N\] or soft labels \[N, C\], got float"):
        losses.arcface(x, x, np.zeros(2))
    with pytest.raises(ValueError, match=r"^labels: expected shape \[N, C\] with N=2, C=2, got \[2, 3\]$"):
        losses.arcface(x, x, x)


@pytest.mark.parametrize("loss", [losses.cosface, losses.arcface])
def test_labels_that_are_no_class(loss):
    """An error where they are known, NaN where they are not, and in no other example."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(5, 4)).astype("f4")
    good = loss(x, weights, np.array([0, 4, 2]))
    for label in (-1, 5, 2**31 - 1):
        labels = np.array([0, label, 2], np.int32)
        with pytest.raises(ValueError, match=rf"^labels: expected 0 to 4, got {min(label, 0)} to {max(label, 2)}$"):
            loss(x, weights, labels)
        with pytest.raises(ValueError, match=r"^labels: expected 0 to 4"):
            jax.grad(lambda x, labels=labels: loss(x, weights, labels).sum())(x)
        traced = jax.jit(loss)(x, weights, labels)
        assert np.isnan(traced[1]).all()
        np.testing.assert_allclose(traced[::2], good[::2], rtol=1e-5)
    constant = jax.jit(lambda x: loss(x, weights, np.array([0, 4, 2], np.uint8)))(x)
    np.testing.assert_allclose(constant, good, rtol=1e-5)
