"""Self-distillation without labels (DINO)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from facejax.losses.arguments import as_float, check_dtype, check_shape


def dino(
    student: Float[ArrayLike, "V N K"],
    teacher: Float[ArrayLike, "2 N K"],
    center: Float[ArrayLike, " K"],
    student_temperature: jax.typing.ArrayLike = 0.1,
    teacher_temperature: jax.typing.ArrayLike = 0.04,
) -> Float[Array, ""]:
    """From any view, the student predicts the teacher's output for another view of the same image.

    Cross-entropy of `softmax(student[v] / student_temperature)` with `softmax((teacher[t] - center) /
    teacher_temperature)`, mean over the images and over the 2V-2 pairs of different views t != v. It needs only
    the logsumexp of the student and its inner products with the teacher, one view at a time, so the only array of the
    student's size that it creates is the gradient.

    Args:
      student: [V, N, K] logits of V views of N images. The first two views are the teacher's.
      teacher: [2, N, K] logits. Passes no gradient.
      center: [K], the running mean of the teacher's logits, see `update_center`. Passes no gradient.
      student_temperature: divides the student's logits.
      teacher_temperature: divides the teacher's centered logits; may be traced, so it can follow a schedule.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: a shape differs from the above, or V is below 2.
      TypeError: integers instead of floats.

    Source: Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, arXiv 2104.14294,
    equations 2 and 3.

    Examples:
      >>> import jax.numpy as jnp
      >>> says = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]])  # three views of one image
      >>> round(float(dino(says, says[:2], jnp.zeros(2))), 3)  # the two teachers disagree
      5.347
    """
    student = jnp.asarray(student)
    check_shape("student", student, "V, N, K")
    check_dtype("student", student, jnp.floating)
    views, n, k = student.shape
    if views < 2:
        raise ValueError(f"student: expected [V, N, K] with V at least 2, got {list(student.shape)}")
    teacher = as_float("teacher", teacher, "2, N, K", N=n, K=k)
    center = as_float("center", center, "K", K=k)
    dtype = jnp.promote_types(student.dtype, teacher.dtype)
    probability = jax.lax.stop_gradient(jax.nn.softmax((teacher - center) / teacher_temperature, axis=-1))

    # One view at a time, recomputed for the gradient: only arrays of one view's size are stored.
    @jax.checkpoint
    def add_view(total, view):
        index, logits = view
        logits = logits.astype(dtype) / student_temperature
        normalizer = jax.nn.logsumexp(logits, axis=-1)
        for t in range(2):
            total += jnp.where(index == t, 0, normalizer - jnp.sum(probability[t] * logits, axis=-1))
        return total, None

    total, _ = jax.lax.scan(add_view, jnp.zeros(n, dtype), (jnp.arange(views), student))
    return jnp.mean(total) / (2 * views - 2)


def update_center(
    center: Float[ArrayLike, " K"], teacher: Float[ArrayLike, "V N K"], momentum: jax.typing.ArrayLike = 0.9
) -> Float[Array, " K"]:
    """Moves the center towards the mean of the teacher's logits: `momentum * center + (1 - momentum) * mean`.

    Args:
      center: [K], initially zeros.
      teacher: [V, N, K] logits of the teacher's views, the global batch.
      momentum: weight of the old center.

    Returns:
      Float32 [K], without gradient. DINO uses the old center in this step's loss, the new one in the next.

    Raises:
      ValueError: a shape differs from the above.
      TypeError: integers instead of floats.

    Source: Caron et al., ICCV 2021, arXiv 2104.14294, equation 4.

    Examples:
      >>> import jax.numpy as jnp
      >>> update_center(jnp.zeros(2), jnp.array([[[1.0, 3.0]], [[3.0, 5.0]]]), momentum=0.5)
      Array([1., 2.], dtype=float32)
    """
    center = as_float("center", center, "K")
    teacher = as_float("teacher", teacher, "V, N, K", K=len(center))
    return jax.lax.stop_gradient(momentum * center + (1 - momentum) * jnp.mean(teacher, axis=(0, 1)))
