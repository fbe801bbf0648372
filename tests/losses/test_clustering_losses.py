import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, normal, softmax

from facejax import losses


def sinkhorn_reference(probabilities, num_iterations=3):
    """As published, on the whole matrix: prototypes in rows, samples in columns."""
    q = probabilities.T / probabilities.sum()
    k, n = q.shape
    for _ in range(num_iterations):
        q = q / q.sum(1, keepdims=True) / k
        q = q / q.sum(0, keepdims=True) / n
    return (q / q.sum(0, keepdims=True)).T


def cluster_reference(student, teacher, student_temperature=0.1, teacher_temperature=0.04, entropy_weight=1.0):
    assignment = sinkhorn_reference(softmax(teacher / teacher_temperature))
    probability = softmax(student / student_temperature)
    mean = probability.mean(0)
    entropy = np.sum(mean * np.log(mean)) + np.log(len(mean))
    return -np.mean(np.sum(assignment * np.log(probability), -1)) + entropy_weight * entropy


@pytest.mark.parametrize("shape", [(1, 1), (50, 8), (3, 20)])
@pytest.mark.parametrize("num_iterations", [0, 1, 3])
def test_sinkhorn(shape, num_iterations):
    probabilities = softmax(normal(1, *shape) / 0.2)
    balanced = losses.sinkhorn(probabilities, num_iterations)
    np.testing.assert_allclose(balanced, sinkhorn_reference(probabilities, num_iterations), atol=2e-6)
    np.testing.assert_allclose(balanced.sum(1), 1, atol=1e-6)


def test_sinkhorn_balances():
    shares = losses.sinkhorn(softmax(normal(2, 60, 5) + np.arange(5)), num_iterations=50).mean(0)
    np.testing.assert_allclose(shares, 1 / 5, atol=1e-5)


def test_sinkhorn_edges():
    one_hot = np.eye(4)[[0, 0, 1, 1]]  # nobody chose the last two prototypes
    np.testing.assert_allclose(losses.sinkhorn(one_hot), one_hot, atol=1e-6)
    np.testing.assert_allclose(losses.sinkhorn(np.zeros((2, 4))), 0.25)
    extreme = jax.nn.softmax(jnp.asarray(normal(3, 6, 5)) * 100)  # entries underflow
    np.testing.assert_allclose(losses.sinkhorn(extreme).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "shape, options",
    [
        ((1, 1), {}),
        ((20, 8), {}),
        ((6, 4), dict(student_temperature=0.3, teacher_temperature=0.1, entropy_weight=0.5)),
    ],
)
def test_cluster_assignment(shape, options):
    teacher = np.tanh(normal(5, *shape))
    check(
        lambda s: losses.cluster_assignment(s, teacher, **options),
        lambda s: cluster_reference(s, teacher, **options),
        np.tanh(normal(4, *shape)),
    )


def test_cluster_assignment_edges():
    one_hot = 100 * jnp.eye(3)[jnp.array([0, 0, 0, 0])]  # two prototypes are never used, by either side
    for student in (one_hot, one_hot * 0, -one_hot, one_hot.astype(jnp.bfloat16)):
        _, teacher_slope = check_finite(losses.cluster_assignment, student, one_hot)
        assert not teacher_slope.any()
    np.testing.assert_allclose(losses.cluster_assignment(one_hot, one_hot), np.log(3), rtol=1e-5)  # collapsed


@pytest.mark.parametrize("options", [{}, dict(student_temperature=0.3, teacher_temperature=0.1)])
def test_centered_assignment(options):
    teacher, center = np.tanh(normal(7, 6, 4)), 0.3 * normal(8, 4)

    def reference(student, student_temperature=0.1, teacher_temperature=0.04):
        assignment = softmax((teacher - center) / teacher_temperature)
        return -np.mean(np.sum(assignment * np.log(softmax(student / student_temperature)), -1))

    check(
        lambda s: losses.centered_assignment(s, teacher, center, **options),
        lambda s: reference(s, **options),
        np.tanh(normal(6, 6, 4)),
    )


def test_centered_assignment_edges():
    one_hot = 100 * jnp.eye(3)[jnp.array([0, 0, 0, 0])]
    for student in (one_hot, one_hot * 0, -one_hot, one_hot.astype(jnp.bfloat16)):
        for center in (0 * one_hot[0], one_hot[0]):
            _, teacher_slope, center_slope = check_finite(losses.centered_assignment, student, one_hot, center)
            assert not teacher_slope.any() and not center_slope.any()


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_shapes_name_the_argument():
    with pytest.raises(ValueError, match=r"^probabilities: expected shape \[N, K\], got \[3\]$"):
        losses.sinkhorn(np.ones(3))
    with pytest.raises(ValueError, match=r"^teacher: expected shape \[N, K\] with N=2, K=3, got \[3, 2\]$"):
        losses.cluster_assignment(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^center: expected shape \[K\] with K=3, got \[1, 3\]$"):
        losses.centered_assignment(np.ones((2, 3)), np.ones((2, 3)), np.ones((1, 3)))
