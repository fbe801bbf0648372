"""Deep clustering: balanced assignments of samples to prototypes, and the loss that learns them."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.losses.arguments import as_float
from facejax.losses.classification import cross_entropy
from facejax.losses.vectors import einsum


def sinkhorn(probabilities: Float[ArrayLike, "N K"], num_iterations: int = 3) -> Float[Array, "N K"]:
    """Balances soft assignments: every prototype gets about the same fraction of the samples.

    Each iteration scales the columns (prototypes) to sum 1/K, then the rows (samples) to sum 1/N; at the end the rows
    sum to 1. Only two scaling vectors are iterated; the matrix itself is written once.

    Args:
      probabilities: [N, K], non-negative; N samples of the global batch, K prototypes.
      num_iterations: number of times that columns and rows are scaled.

    Returns:
      Float32 [N, K], rows sum to 1. A prototype that no sample chose stays empty; a row of zeros becomes uniform.

    Raises:
      ValueError: the shape is not [N, K].
      TypeError: integers instead of floats.

    Source: Cuturi, "Sinkhorn distances", NeurIPS 2013; Caron et al., "Unsupervised learning of visual features by
    contrasting cluster assignments", NeurIPS 2020, arXiv 2006.09882, section 3.1.

    Examples:
      >>> import jax.numpy as jnp
      >>> sinkhorn(jnp.array([[0.9, 0.1], [0.9, 0.1]]))  # both prefer the first prototype and have to share it
      Array([[0.5, 0.5],
             [0.5, 0.5]], dtype=float32)
    """
    probabilities = as_float("probabilities", probabilities, "N, K")
    n, k = probabilities.shape
    row_scale, column_scale = jnp.full_like(probabilities[:, 0], 1 / n), jnp.ones_like(probabilities[0])
    for _ in range(num_iterations):
        column_scale = _reciprocal(k * einsum("n,nk->k", row_scale, probabilities))
        row_scale = _reciprocal(n * einsum("nk,k->n", probabilities, column_scale))
    balanced = probabilities * column_scale
    total = jnp.sum(balanced, axis=-1, keepdims=True)
    return jnp.where(total > 0, balanced * _reciprocal(total), 1 / k)


def _reciprocal(x: jax.Array) -> jax.Array:
    """1/x, and 0 where x is 0."""
    smallest = jnp.finfo(x.dtype).tiny
    return jnp.where(x > smallest, 1 / jnp.maximum(x, smallest), 0)


def cluster_assignment(
    student: Float[ArrayLike, "N K"],
    teacher: Float[ArrayLike, "N K"],
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    entropy_weight: float = 1.0,
    sinkhorn_iterations: int = 3,
) -> Float[Array, ""]:
    """The student predicts the teacher's balanced assignments, and uses all prototypes equally.

    Cross-entropy of `softmax(student / student_temperature)` with `sinkhorn(softmax(teacher / teacher_temperature))`,
    mean over the samples, plus `entropy_weight * (sum p log p + log K)` with p the mean student probability: 0 when
    all prototypes are used equally, log K when one prototype takes everything.

    Args:
      student: [N, K] logits (for FRA cosines with K regions), one row for each sample: the grid cells of the global
        batch.
      teacher: [N, K] logits of the same samples from the teacher. Passes no gradient.
      student_temperature: divides the student's logits.
      teacher_temperature: divides the teacher's logits.
      entropy_weight: weight of the term that keeps the prototypes in use.
      sinkhorn_iterations: of the teacher's balancing, see `sinkhorn`.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the shapes are not [N, K], or differ.
      TypeError: integers instead of floats.

    Source: Gao & Patras, CVPR 2024, arXiv 2403.02138, the semantic relation loss; the entropy term is that of Assran
    et al., "Masked siamese networks", ECCV 2022, arXiv 2204.07141, equation 2.

    Examples:
      >>> import jax.numpy as jnp
      >>> logits = jnp.array([[1.0, -1.0], [-1.0, 1.0]])
      >>> round(float(cluster_assignment(logits, logits)), 6)
      0.0
      >>> bool(cluster_assignment(logits, -logits) > 10)
      True
    """
    student = as_float("student", student, "N, K")
    n, k = student.shape
    teacher = as_float("teacher", teacher, "N, K", N=n, K=k)
    assignment = jax.lax.stop_gradient(
        sinkhorn(jax.nn.softmax(teacher / teacher_temperature, axis=-1), sinkhorn_iterations)
    )
    log_probability = jax.nn.log_softmax(student / student_temperature, axis=-1)
    prediction = -jnp.mean(jnp.sum(assignment * log_probability, axis=-1))
    # In the log domain an unused prototype is finite, and so is its gradient.
    log_usage = jax.nn.logsumexp(log_probability, axis=0) - math.log(n)
    return prediction + entropy_weight * (jnp.sum(jnp.exp(log_usage) * log_usage) + math.log(k))


def centered_assignment(
    student: Float[ArrayLike, "N K"],
    teacher: Float[ArrayLike, "N K"],
    center: Float[ArrayLike, " K"],
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Float[Array, ""]:
    """The student predicts the teacher's assignment of the same sample; centering prevents a constant assignment.

    Cross-entropy of `softmax(student / student_temperature)` with `softmax((teacher - center) / teacher_temperature)`,
    mean over the samples. Unlike `cluster_assignment`, it does not balance within the batch.

    Args:
      student: [N, K] logits (for LEWEL-B cosines with K regions), one row for each sample: the grid cells of the global
        batch.
      teacher: [N, K] logits of the same samples from the teacher. Passes no gradient.
      center: [K], the running mean of the teacher's logits, see `update_center`. Passes no gradient.
      student_temperature: divides the student's logits.
      teacher_temperature: divides the teacher's centered logits.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: a shape differs from the above.
      TypeError: integers instead of floats.

    Source: the official code of Gao & Patras, CVPR 2024, arXiv 2403.02138, for its baseline LEWEL-B; the center is that
    of Caron et al., ICCV 2021, arXiv 2104.14294, section 3.1.

    Examples:
      >>> import jax.numpy as jnp
      >>> logits = jnp.array([[1.0, -1.0], [1.0, -1.0]])
      >>> round(float(centered_assignment(logits, logits, jnp.zeros(2))), 6)
      0.0
      >>> round(float(centered_assignment(logits, logits, logits[0])), 3)  # equal to the center: uninformative
      10.0
    """
    student = as_float("student", student, "N, K")
    n, k = student.shape
    teacher = as_float("teacher", teacher, "N, K", N=n, K=k)
    center = as_float("center", center, "K", K=k)
    assignment = jax.lax.stop_gradient(jax.nn.softmax((teacher - center) / teacher_temperature, axis=-1))
    return cross_entropy(student / student_temperature, assignment)
