"""What every loss does first with an argument: check its shape and convert it to float32 at least."""

import jax
import jax.numpy as jnp


def check_shape(name: str, array: jax.Array, shape: str, **sizes: int) -> None:
    """Raises `ValueError` unless `array` has a shape such as "N, D" or "N, 2"; `sizes` may fix the letters."""
    axes = shape.split(", ")
    expected = [int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes]
    if array.ndim == len(axes) and all(n > 0 and m in (n, None) for n, m in zip(array.shape, expected, strict=True)):
        return
    known = ", ".join(f"{axis}={sizes[axis]}" for axis in dict.fromkeys(axes) if axis in sizes)
    raise ValueError(f"{name}: expected shape [{shape}]{known and f' with {known}'}, got {list(array.shape)}")


def check_dtype(name: str, array: jax.Array, kind: type) -> None:
    """Raises `TypeError` unless an array holds numbers of this kind: `jnp.floating` or `jnp.integer`."""
    if not jnp.issubdtype(array.dtype, kind):
        raise TypeError(f"{name}: expected {'floats' if kind is jnp.floating else 'integers'}, got {array.dtype}")


def known_values(array: jax.Array) -> list | None:
    """The values as a list, or None where they are unknown (under `jax.jit`) or spread over several hosts."""
    return None if isinstance(array, jax.core.Tracer) or not array.is_fully_addressable else array.tolist()


def as_float(name: str, value: jax.typing.ArrayLike, shape: str, **sizes: int) -> jax.Array:
    """`value` as a float32 array; float64, which requires x64 mode, stays float64.

    Raises:
      ValueError: the shape differs; see `check_shape`.
      TypeError: it does not hold floats.
    """
    array = jnp.asarray(value)
    check_shape(name, array, shape, **sizes)
    check_dtype(name, array, jnp.floating)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def as_targets(name: str, value: jax.typing.ArrayLike, logits: jax.Array) -> jax.Array:
    """Labels of logits [N, C] as probabilities [N, C]: integers [N] become one-hot, soft labels stay.

    Raises:
      ValueError: the shape is neither, or a label is out of range. Under `jax.jit`, where labels are unknown, the row
        of such an example is NaN instead.
      TypeError: labels [N] that are not integers, or soft labels that are not floats.
    """
    n, classes = logits.shape
    labels = jnp.asarray(value)
    if labels.ndim != 1:
        return as_float(name, labels, "N, C", N=n, C=classes)
    check_shape(name, labels, "N", N=n)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name}: expected integers [N] or soft labels [N, C], got {labels.dtype} [N]")
    target = labels[:, None] == jnp.arange(classes)
    numbers = known_values(labels) or [0]
    if min(numbers) < 0 or max(numbers) >= classes:
        raise ValueError(f"{name}: expected 0 to {classes - 1}, got {min(numbers)} to {max(numbers)}")
    return jnp.where(target.any(axis=1, keepdims=True), target, jnp.nan).astype(logits.dtype)
