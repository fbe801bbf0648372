"""Patches around many points of every image: in one gather, as the models do it, against a loop over points.

    python -m benchmarks.patch_sampling [--batch=32] [--points=196]

Prints time and peak temporary memory, and how much the results differ, for

  gather     `facejax.models.patches.sample_patches`
  scan       one bilinear grid sampling after the other, in one compiled loop
  matmul     all points at once as products with interpolation weights over whole rows and columns
  loop       one call of a bilinear grid sampling after the other, as the official code does it
"""

import argparse
import time

import jax
import jax.numpy as jnp

from facejax.models.patches import sample_patches

SIZE, SIDE = 8, 112


def grid_sample(images, points):
    """One patch of each image [B, H, W, C] around its point [B, 2], bilinear, zeros outside: [B, SIZE^2 C]."""
    offset = jnp.arange(SIZE) - SIZE / 2 - 0.5
    x = points[:, 0, None, None] + offset[:, None]
    y = points[:, 1, None, None] + offset
    x, y = jnp.broadcast_arrays(x, y)
    left, top = jnp.floor(x), jnp.floor(y)
    total = 0.0
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        inside = (column >= 0) & (column < images.shape[2]) & (row >= 0) & (row < images.shape[1])
        weight = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row)) * inside
        row = jnp.clip(row, 0, images.shape[1] - 1).astype(jnp.int32)
        column = jnp.clip(column, 0, images.shape[2] - 1).astype(jnp.int32)
        values = jax.vmap(lambda image, row, column: image[row, column])(images, row, column)
        total = total + weight[..., None] * values
    return total.reshape(len(images), -1)


def loop(images, points):
    """Point after point, each a call of its own."""
    one = jax.jit(grid_sample)
    return jnp.stack([one(images, points[:, index]) for index in range(points.shape[1])], 1)


def scan(images, points):
    """Point after point."""
    return jax.lax.map(lambda at: grid_sample(images, at), points.swapaxes(0, 1)).swapaxes(0, 1)


def matmul(images, points):
    """Products with weights [B, P, SIZE, H] and [B, P, SIZE, W]."""
    place = points[..., None] + jnp.arange(SIZE) - SIZE / 2 - 0.5
    weights = jnp.maximum(0, 1 - jnp.abs(place[..., None] - jnp.arange(SIDE)))
    rows = jnp.einsum("bpjh,bhwc->bpjwc", weights[:, :, 1], images, precision=jax.lax.Precision.HIGH)
    return jnp.einsum("bpiw,bpjwc->bpijc", weights[:, :, 0], rows, precision=jax.lax.Precision.HIGH).reshape(
        *points.shape[:2], -1
    )


def measure(function, *arguments, compile_it: bool, repeats: int):
    """The result, best seconds of a few calls, temporary bytes (None if not compiled as a whole)."""
    temporary = None
    if compile_it:
        function = jax.jit(function).lower(*arguments).compile()
        temporary = function.memory_analysis().temp_size_in_bytes
    result = jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return result, min(seconds), temporary


def gradient(function, argnums):
    """Gradient of the weighted sum of the patches, in points (1) or images and points (0, 1)."""

    def weighted(images, points, weight):
        return (function(images, points) * weight).sum()

    return jax.grad(weighted, argnums=argnums)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="images")
    parser.add_argument("--points", type=int, default=196, help="patches of each image")
    args = parser.parse_args()
    batch, num_points = args.batch, args.points
    image_key, point_key, weight_key = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(image_key, (batch, SIDE, SIDE, 3))
    points = jax.random.uniform(point_key, (batch, num_points, 2), minval=-10, maxval=SIDE + 10)
    weight = jax.random.normal(weight_key, (batch, num_points, SIZE**2 * 3))
    print(f"{batch} images of {SIDE} px, {num_points} patches of {SIZE} px, on {jax.devices()[0].device_kind}")
    print(f"{'':<22}{'':<10}{'ms':>10}{'x gather':>10}{'temporary MB':>14}{'difference':>12}")
    for kind, argnums in (("forward", None), ("gradient in points", 1), ("gradient in both", (0, 1))):
        reference = None
        for name, function in (("gather", sample_patches), ("scan", scan), ("matmul", matmul), ("loop", loop)):
            run, arguments = (function, ()) if argnums is None else (gradient(function, argnums), (weight,))
            result, seconds, temporary = measure(
                run, images, points, *arguments, compile_it=name != "loop", repeats=3 if name == "loop" else 20
            )
            reference = reference or (jax.tree.leaves(result), seconds)
            pairs = zip(jax.tree.leaves(result), reference[0], strict=True)
            difference = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs)
            megabytes = "" if temporary is None else f"{temporary / 1e6:.1f}"
            print(
                f"{kind:<22}{name:<10}{1e3 * seconds:>10.1f}{seconds / reference[1]:>10.1f}{megabytes:>14}"
                f"{difference:>12.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
