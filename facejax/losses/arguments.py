"""What every loss does with an argument first: check its shape and its type, at least float32."""

import jax
import jax.numpy as jnp


def check_shape(name: str, array: jax.Array, shape: str, **sizes: int) -> None:
    """Raises `ValueError` unless `array` looks like `shape`, e.g. "N, D" or "N, 2", whose letters `sizes` may fix."""
    axes = shape.split(", ")
    expected = [int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes]
    if array.ndim == len(axes) and all(n > 0 and m in (n, None) for n, m in zip(array.shape, expected, strict=True)):
        return
    known = ", ".join(f"{axis}={sizes[axis]}" for axis in dict.fromkeys(axes) if axis in sizes)
    raise ValueError(f"{name}: expected shape [{shape}]{known and f' with {known}'}, got {list(array.shape)}")


def check_dtype(name: str, array: jax.Array, kind: type) -> None:
    """Raises `TypeError` unless an array is of a kind of numbers: `jnp.floating` or `jnp.integer`."""
    if not jnp.issubdtype(array.dtype, kind):
        raise TypeError(f"{name}: expected {'floats' if kind is jnp.floating else 'integers'}, got {array.dtype}")


def known_values(array: jax.Array) -> list | None:
    """The values as a list; None where they are not known, under `jax.jit`, or lie on several hosts."""
    return None if isinstance(array, jax.core.Tracer) or not array.is_fully_addressable else array.tolist()


def as_float(name: str, value: jax.typing.ArrayLike, shape: str, **sizes: int) -> jax.Array:
    """`value` as a float32 array; float64, which only x64 mode has, stays.

    Raises:
      ValueError: its shape is another; see `check_shape`.
      TypeError: it is not of floats.
    """
    array = jnp.asarray(value)
    check_shape(name, array, shape, **sizes)
    check_dtype(name, array, jnp.floating)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def as_targets(name: str, value: jax.typing.ArrayLike, logits: jax.Array) -> jax.Array:
    """Labels of logits [N, C] as probabilities [N, C]: integers [N] one-hot, soft ones as they are.

    Raises:
      ValueError: the shape is neither, or a label is no class. Under `jax.jit`, where labels are not known, the row of
        such an example is NaN instead.
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
