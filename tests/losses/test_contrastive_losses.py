import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, cosine, normal

from facejax import losses


def cross_entropy(positive, negatives, temperature):
    logits = np.array([positive, *negatives]) / temperature
    return np.log(np.sum(np.exp(logits - logits.max()))) + logits.max() - logits[0]


def info_reference(features, temperature=0.07):
    m = len(features)
    total = 0.0
    for i in range(m):
        p = (i + m // 2) % m
        negatives = [cosine(features[i], features[j]) for j in range(m) if j not in (i, p)]
        total += cross_entropy(cosine(features[i], features[p]), negatives, temperature)
    return total / m


def mixed_reference(features, mix, permutation, temperature=0.07):
    m = len(features)
    total = 0.0
    for i in range(m):
        p = (i + m // 2) % m
        others = features[[j for j in range(m) if j not in (i, p)]]
        mixed = mix[i][:, None] * others + (1 - mix[i][:, None]) * others[permutation]
        total += cross_entropy(cosine(features[i], features[p]), cosine(features[i], mixed), temperature)
    return total / m


def pose_reference(features, negatives, mix, permutation, temperature=0.07):
    k, q = mix.shape
    total = 0.0
    for i in range(2 * k):
        image = i % k
        own = negatives[image * q : (image + 1) * q]
        mixed = mix[image][:, None] * own + (1 - mix[image][:, None]) * own[permutation]
        total += cross_entropy(
            cosine(features[i], features[(i + k) % (2 * k)]), cosine(features[i], mixed), temperature
        )
    return total / (2 * k)


def draw(seed, anchors, count):
    rng = np.random.default_rng(seed)
    return rng.beta(1.6, 1.6, [anchors, count]), rng.permutation(count)


@pytest.mark.parametrize("shape, temperature", [((2, 3), 0.07), ((6, 2), 0.5), ((10, 16), 0.07)])
def test_info_nce(shape, temperature):
    check(lambda f: losses.info_nce(f, temperature), lambda f: info_reference(f, temperature), normal(1, *shape))


@pytest.mark.parametrize("shape, temperature", [((4, 1), 0.5), ((4, 3), 0.07), ((6, 2), 0.5), ((14, 8), 0.07)])
def test_mixed_info_nce(shape, temperature):
    mix, permutation = draw(2, shape[0], shape[0] - 2)
    # Gradients pass into the mix as well.
    check(
        lambda f, m: losses.mixed_info_nce(f, m, permutation, temperature),
        lambda f, m: mixed_reference(f, m, permutation, temperature),
        3 * normal(3, *shape),
        mix,
    )


@pytest.mark.parametrize("images, count, dim", [(1, 1, 2), (3, 5, 4), (4, 2, 8)])
def test_pose_info_nce(images, count, dim):
    mix, permutation = draw(4, images, count)
    check(
        lambda f, n, m: losses.pose_info_nce(f, n, m, permutation, 0.2),
        lambda f, n, m: pose_reference(f, n, m, permutation, 0.2),
        normal(5, 2 * images, dim),
        3 * normal(6, images * count, dim),
        mix,
    )


def test_unmixed_is_info_nce():
    features = normal(7, 12, 5)
    mixed = losses.mixed_info_nce(features, np.ones((12, 10)), np.random.default_rng(8).permutation(10))
    np.testing.assert_allclose(mixed, losses.info_nce(features), rtol=1e-5)


def sizes(jaxpr):
    """Number of entries of everything that a traced function computes."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from sizes(inner)


def test_mixed_info_nce_makes_nothing_cubic():
    mix, permutation = draw(9, 40, 38)
    trace = jax.make_jaxpr(jax.value_and_grad(losses.mixed_info_nce))(jnp.ones([40, 30]), mix, permutation)
    assert max(sizes(trace.jaxpr)) <= 40 * 40


def test_edges():
    x = jnp.asarray(normal(10, 8, 4), jnp.float32)
    mix, permutation = jnp.full([8, 6], 0.5), np.array([1, 0, 3, 2, 5, 4])

    def mixed(features, mix):
        return losses.mixed_info_nce(features, mix, permutation)

    def pose(features, mix):
        negatives = jnp.concatenate([features, -features, features])
        return losses.pose_info_nce(features, negatives, mix, permutation)

    opposite = jnp.tile(x[:1], [8, 1]) * jnp.array([1, -1, 1, -1, 1, -1, 1, -1])[:, None]  # mixed negatives vanish
    for features in (x, 0 * x, x.at[2].set(0), jnp.tile(x[:1], [8, 1]), opposite, 1e-15 * x, x.astype(jnp.bfloat16)):
        check_finite(losses.info_nce, features)
        for m in (mix, 0 * mix, 0 * mix + 1):
            check_finite(mixed, features, m)
            check_finite(pose, features, m[:4])


def test_a_vanished_negative_counts_as_orthogonal():
    features = jnp.array([[1.0, 0], [0, 1], [1, 0], [0, -1]])  # the negatives of the first image are opposite
    value = losses.mixed_info_nce(features, np.full((4, 2), 0.5), np.array([1, 0]), temperature=1.0)
    first = np.log(np.e + 2) - 1
    second = np.log(1 / np.e + 2) + 1  # cosine with both negatives 0, with the positive -1
    np.testing.assert_allclose(value, (first + second) / 2, rtol=1e-6)


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_shapes_name_the_argument():
    x = np.ones((6, 3))
    with pytest.raises(ValueError, match=r"^features: expected an even number of rows, two views stacked, got 5$"):
        losses.info_nce(x[:5])
    with pytest.raises(ValueError, match=r"^mix: expected shape \[2N, 2N-2\] with 2N=6, 2N-2=4, got \[6, 6\]$"):
        losses.mixed_info_nce(x, np.ones((6, 6)), np.arange(4))
    with pytest.raises(ValueError, match=r"^permutation: expected shape \[2N-2\] with 2N-2=4, got \[6\]$"):
        losses.mixed_info_nce(x, np.ones((6, 4)), np.arange(6))
    with pytest.raises(ValueError, match=r"^features: .*no negatives"):
        losses.mixed_info_nce(x[:2], np.ones((2, 0)), np.arange(0))
    with pytest.raises(ValueError, match=r"^negatives: expected shape \[K\*Q, D\] with K\*Q=12, D=3, got \[6, 3\]$"):
        losses.pose_info_nce(x, x, np.ones((3, 4)), np.arange(4))
