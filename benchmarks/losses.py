"""What the losses save over their formulas written down plainly, in temporary memory and in time.

python -m benchmarks.losses [--features=512] [--classes=100000]

Each line is one compiled value-and-gradient on this machine: peak temporary memory as XLA plans it, and the best
time of a few runs.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp

from facejax import losses


def materialised_mixed(features, mix, permutation, temperature=0.07):
    """`losses.mixed_info_nce` with its [2N, 2N-2, D] negatives."""
    anchors = len(features)
    columns = jnp.arange(anchors)
    own = columns[:, None] % (anchors // 2) == columns % (anchors // 2)
    others = jnp.argsort(own, axis=1, stable=True)[:, :-2]  # the two own ones go last
    negatives = features[others]
    mixed = mix[..., None] * negatives + (1 - mix[..., None]) * negatives[:, permutation]
    mixed /= jnp.linalg.norm(mixed, axis=-1, keepdims=True)
    anchor = features / jnp.linalg.norm(features, axis=-1, keepdims=True)
    positive = jnp.sum(anchor * jnp.roll(anchor, anchors // 2, axis=0), axis=-1)
    cosines = jnp.einsum("id,ikd->ik", anchor, mixed)
    logits = jnp.concatenate([positive[:, None], cosines], axis=1) / temperature
    return -jnp.mean(jax.nn.log_softmax(logits)[:, 0])


def plain_dino(student, teacher, center, student_temperature=0.1, teacher_temperature=0.04):
    """`losses.dino` as a double loop over views."""
    probability = jax.lax.stop_gradient(jax.nn.softmax((teacher - center) / teacher_temperature))
    log_probability = jax.nn.log_softmax(student / student_temperature)
    pairs = [
        -jnp.mean(jnp.sum(probability[t] * log_probability[v], axis=-1))
        for t in range(2)
        for v in range(len(student))
        if v != t
    ]
    return sum(pairs) / len(pairs)


def measure(loss, arguments, repeats):
    """(value, gradient in the first argument), temporary bytes, seconds."""
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    result = jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    return result, compiled.memory_analysis().temp_size_in_bytes, min(seconds)


def compare(name, plain, ours, arguments):
    """Prints one line of the table."""
    (plain_value, plain_slope), plain_bytes, plain_seconds = measure(plain, arguments, repeats=2)
    (value, slope), temporary, seconds = measure(ours, arguments, repeats=10)
    value_error = abs(float(value / plain_value) - 1)
    slope_error = float(jnp.abs(slope - plain_slope).max() / jnp.abs(plain_slope).max())
    print(
        f"{name:<38}{plain_bytes / 1e6:>9.1f}{temporary / 1e6:>9.1f}{plain_bytes / temporary:>7.1f}x"
        f"{plain_seconds:>10.3f}{seconds:>9.3f}{plain_seconds / seconds:>7.1f}x{value_error:>11.0e}{slope_error:>11.0e}"
    )


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=512, help="two views of half as many images")
    parser.add_argument("--classes", type=int, default=100_000, help="outputs of DINO's head")
    args = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), 6)
    normal = jax.random.normal
    print(f"{'':<38}{'temporary MB':^26}{'seconds':^27}{'relative difference':^21}")
    header = f"{'plain':>9}{'ours':>9}{'ratio':>8}{'plain':>10}{'ours':>9}{'ratio':>8}{'value':>11}{'gradient':>11}"
    print(f"{jax.devices()[0].device_kind:<38}{header}")

    count, negatives = args.features, args.features - 2
    mix = jax.random.beta(keys[1], 1.6, 1.6, [count, negatives])
    faces = (normal(keys[0], [count, 512]), mix, jax.random.permutation(keys[2], negatives))
    compare(f"mixed_info_nce, {count} features of 512", materialised_mixed, losses.mixed_info_nce, faces)

    for dtype in (jnp.float32, jnp.bfloat16):
        student = normal(keys[3], [10, 8, args.classes], dtype)
        teacher = normal(keys[4], [2, 8, args.classes], dtype)
        views = (student, teacher, 0.1 * normal(keys[5], [args.classes]))
        plain = functools.partial(upcast, plain_dino)
        compare(f"dino, 10 views of 8, {args.classes}, {dtype.__name__}", plain, losses.dino, views)


def upcast(loss, *arrays):
    """The loss of the arrays in float32."""
    return loss(*(array.astype(jnp.float32) for array in arrays))


if __name__ == "__main__":
    main()
