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


def as_float(name: str, value: jax.typing.ArrayLike, shape: str, **sizes: int) -> jax.Array:
    """`value` as a float32 array of the given shape; see `check_shape`. float64, which only x64 mode has, stays."""
    array = jnp.asarray(value)
    check_shape(name, array, shape, **sizes)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
