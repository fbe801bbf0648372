import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_reference import check, check_finite, normal, softmax

from facejax import losses


def dino_reference(student, teacher, center, student_temperature, teacher_temperature):
    probability = softmax((teacher - center) / teacher_temperature)
    log_probability = np.log(softmax(student / student_temperature))
    pairs = [
        -np.mean(np.sum(probability[t] * log_probability[v], -1))
        for t in range(2)
        for v in range(len(student))
        if v != t
    ]
    return np.mean(pairs)


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 3, 5), (6, 2, 12)])
@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (0.5, 0.3)])
def test_dino(shape, temperatures):
    views, n, k = shape
    teacher, center = 0.3 * normal(1, 2, n, k), 0.1 * normal(2, k)
    check(
        lambda s: losses.dino(s, teacher, center, *temperatures),
        lambda s: dino_reference(s, teacher, center, *temperatures),
        0.3 * normal(3, views, n, k),
    )


def test_many_classes_and_a_traced_temperature():
    student, teacher, center = normal(4, 3, 2, 20_000), normal(5, 2, 2, 20_000), normal(6, 20_000)
    value = jax.jit(losses.dino)(student, teacher, center, teacher_temperature=0.07)
    np.testing.assert_allclose(value, dino_reference(student, teacher, center, 0.1, 0.07), rtol=1e-6)


def test_edges():
    x = jnp.asarray(normal(7, 4, 2, 5), jnp.float32)
    for student in (x, 0 * x, 1e4 * x, x.astype(jnp.bfloat16)):
        for teacher in (student[:2], x[:2], 1e4 * x[:2]):
            _, teacher_slope, center_slope = check_finite(losses.dino, student, teacher, x[0, 0])
            assert not teacher_slope.any() and not center_slope.any()


def test_memory_is_of_the_size_of_a_view():
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in [(10, 2, 10_000), (2, 2, 10_000), (10_000,)]]
    memory = jax.jit(jax.value_and_grad(losses.dino)).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 7.5 * 4 * 2 * 10_000  # of 10 views


@pytest.mark.parametrize("momentum", [0.9, 0.3])
def test_update_center(momentum):
    center, teacher = normal(8, 7), normal(9, 2, 4, 7)
    expected = center * momentum + (1 - momentum) * teacher.reshape(-1, 7).mean(0)
    np.testing.assert_allclose(losses.update_center(center, teacher, momentum), expected, atol=1e-6)


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_shapes_name_the_argument():
    x = np.ones((3, 2, 5))
    with pytest.raises(ValueError, match=r"^teacher: expected shape \[2, N, K\] with N=2, K=5, got \[3, 2, 5\]$"):
        losses.dino(x, x, x[0, 0])
    with pytest.raises(ValueError, match=r"^center: expected shape \[K\] with K=5, got \[1, 5\]$"):
        losses.dino(x, x[:2], x[0, :1])
    with pytest.raises(ValueError, match=r"^student: expected \[V, N, K\] with V at least 2"):
        losses.dino(x[:1], x[:2], x[0, 0])
    with pytest.raises(ValueError, match=r"^teacher: expected shape \[V, N, K\] with K=4, got \[3, 2, 5\]$"):
        losses.update_center(np.zeros(4), x)
