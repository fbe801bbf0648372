"""Contrastive losses: an anchor must find its other view among negatives, which PCL makes harder by mixing them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Integer

from facejax.losses.arguments import as_float, check_dtype, check_shape, known_values
from facejax.losses.vectors import einsum, inverse_norm, unit


def info_nce(features: Float[ArrayLike, "M D"], temperature: float = 0.07) -> Float[Array, ""]:
    """Cross-entropy of finding the other view of an image among all other features of the batch.

    For anchor i with other view p, `-log(exp(cos(i, p) / temperature) / sum_{j != i} exp(cos(i, j) / temperature))`,
    mean over the 2N anchors.

    Args:
      features: [2N, D], two views stacked: rows i and N + i are views of the same image. Need not be normalised.
      temperature: divides the cosines.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the shape is not [2N, D].
      TypeError: integers instead of floats.

    Source: Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020,
    arXiv 2002.05709, equation 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> views = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> round(float(info_nce(jnp.concatenate([views, views]), temperature=1.0)), 4)  # log(1 + 2 exp(-1))
      0.5514
    """
    features = _two_views(features)
    direction = unit(features)
    logits = einsum("id,jd->ij", direction, direction) / temperature
    logits = jnp.where(jnp.eye(len(features), dtype=bool), -jnp.inf, logits)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - _agreement(direction) / temperature)


def mixed_info_nce(
    features: Float[ArrayLike, "M D"],
    mix: Float[ArrayLike, "M M-2"],
    permutation: Integer[ArrayLike, " M-2"],
    temperature: float = 0.07,
) -> Float[Array, ""]:
    """`info_nce` with negatives mixed in pairs: PCL's contrast of faces.

    The negatives n of an anchor are all features except its own two, in index order. Negative k becomes
    `m n_k + (1 - m) n_permutation[k]` with m = mix[anchor, k], and is then normalised.

    All cosines are computed from the Gram matrix of the features, so memory grows with N² instead of N² D. A mixed
    negative shorter than 1e-3 of its two parts counts as zero: its cosine is 0, without gradient.

    Args:
      features: [2N, D], two views stacked: rows i and N + i are views of the same image. Do not normalise them: the
        lengths take part in the mixing.
      mix: [2N, 2N-2], for PCL from Beta(1.6, 1.6).
      permutation: [2N-2] integers, one permutation for all anchors.
      temperature: divides the cosines.

    Returns:
      A float32 scalar, mean over the 2N anchors.

    Raises:
      ValueError: a shape differs from the above, or `permutation` is not a permutation (not detected under `jax.jit`).
      TypeError: integers instead of floats, or vice versa.

    Source: Liu et al., "Pose-disentangled contrastive learning for self-supervised facial representation", CVPR 2023,
    arXiv 2211.13490; the mixing is the official code's.

    Examples:
      >>> import jax
      >>> feature_key, mix_key, order_key = jax.random.split(jax.random.key(0), 3)
      >>> features = jax.random.normal(feature_key, [8, 16])  # two views of 4 images
      >>> mix = jax.random.beta(mix_key, 1.6, 1.6, [8, 6])
      >>> mixed_info_nce(features, mix, jax.random.permutation(order_key, 6)).shape
      ()
    """
    return _cross_entropy(mixed_logits(features, mix, permutation, temperature))


def mixed_logits(features, mix, permutation, temperature: float) -> jax.Array:
    """Logits [2N, 2N-1] of `mixed_info_nce`, with that of the other view first; the same arguments."""
    features = _two_views(features)
    anchors = len(features)
    count = anchors - 2
    sizes = {"2N": anchors, "2N-2": count}
    if count == 0:
        raise ValueError("features: expected shape [2N, D] with N > 1, or there are no negatives to mix, got N=1")
    mix, permutation = _mixing(mix, permutation, "2N, 2N-2", **sizes)
    mix = mix.T

    # From here on rows are negatives and columns are anchors: permuting rows moves contiguous memory. Negative k of an
    # anchor is feature k + shift, where the shift counts how many of the anchor's own two rows come before it. There
    # are only three shifts, so negatives are selected from three slices instead of gathered.
    k = jnp.arange(count)[:, None]
    own = jnp.arange(anchors)[None, :] % (anchors // 2)
    shift = (k >= own).astype(jnp.int32) + (k >= own + anchors // 2 - 1)
    other_shift = shift[permutation]

    gram = einsum("jd,id->ji", features, features)
    squared = jnp.sum(features * features, axis=-1)
    slices = [slice(s, s + count) for s in range(3)]
    dot = _select(shift, [gram[s] for s in slices])
    length = _select(shift, [squared[s, None] for s in slices])
    # <n_k, n_permutation[k]>, for each pair of shifts that can occur.
    pairs = [[jnp.sum(features[s] * features[t][permutation], axis=-1)[:, None] for t in slices] for s in slices]
    cross = _select(shift, [_select(other_shift, row) for row in pairs])

    rest = 1 - mix
    dot = mix * dot + rest * dot[permutation]
    parts = mix**2 * length + rest**2 * length[permutation]
    length = parts + 2 * mix * rest * cross
    # Below this, the length is rounding error.
    length = jnp.where(length > 1e-6 * parts, length, 0)
    inverse = inverse_norm(squared)
    return _logits(_agreement(features * inverse[:, None]), (dot * inverse * inverse_norm(length)).T, temperature)


def pose_info_nce(
    features: Float[ArrayLike, "M D"],
    negatives: Float[ArrayLike, "KQ D"],
    mix: Float[ArrayLike, "M//2 Q"],
    permutation: Integer[ArrayLike, " Q"],
    temperature: float = 0.07,
) -> Float[Array, ""]:
    """PCL's contrast of poses: the other view is contrasted with mixed augmentations of the mirrored image.

    Each image has its own Q negatives n, the same for both views. Negative q becomes
    `m n_q + (1 - m) n_permutation[q]` with m = mix[image, q], and is then normalised. No intermediate array is
    larger than `negatives`.

    This follows the paper: an anchor is contrasted with the negatives of its own image. The official code stacks the
    negatives augmentation-major (`[Q*K, D]`) and splits them image-major, so an anchor is contrasted with augmentations
    of all images. To get this, reorder the input: pass `negatives.reshape(K, Q, D).swapaxes(0, 1).reshape(-1, D)`.

    Args:
      features: [2K, D], two views stacked: rows i and K + i are views of the same image. Need not be normalised.
      negatives: `[K*Q, D]`, image-major: the Q negatives of image 0, then those of image 1, ... Do not normalise them:
        the lengths take part in the mixing.
      mix: [K, Q], for PCL from Beta(1.6, 1.6).
      permutation: [Q] integers, one permutation for all images.
      temperature: divides the cosines.

    Returns:
      A float32 scalar, mean over the 2K anchors.

    Raises:
      ValueError: a shape differs from the above, or `permutation` is not a permutation (not detected under `jax.jit`).
      TypeError: integers instead of floats, or vice versa.

    Source: Liu et al., "Pose-disentangled contrastive learning for self-supervised facial representation", CVPR 2023,
    arXiv 2211.13490; the mixing is the official code's.

    Examples:
      >>> import jax
      >>> keys = jax.random.split(jax.random.key(0), 4)
      >>> views = jax.random.normal(keys[0], [6, 16])  # two views of 3 images
      >>> mirrored = jax.random.normal(keys[1], [15, 16])  # 5 negatives of each
      >>> mix = jax.random.beta(keys[2], 1.6, 1.6, [3, 5])
      >>> pose_info_nce(views, mirrored, mix, jax.random.permutation(keys[3], 5)).shape
      ()
    """
    return _cross_entropy(pose_logits(features, negatives, mix, permutation, temperature))


def pose_logits(features, negatives, mix, permutation, temperature: float) -> jax.Array:
    """Logits [2K, 1+Q] of `pose_info_nce`, with that of the other view first; the same arguments."""
    features = _two_views(features)
    images, dim = len(features) // 2, features.shape[1]
    mix, permutation = _mixing(mix, permutation, "K, Q", K=images)
    count = mix.shape[1]
    negatives = as_float("negatives", negatives, "K*Q, D", **{"K*Q": images * count, "D": dim})

    negatives = negatives.reshape(images, count, dim)
    mix = mix[:, :, None]
    mixed = unit(mix * negatives + (1 - mix) * negatives[:, permutation])
    direction = unit(features)
    cosines = einsum("vkd,kqd->vkq", direction.reshape(2, images, dim), mixed)
    return _logits(_agreement(direction), cosines.reshape(2 * images, count), temperature)


def _two_views(features: jax.typing.ArrayLike) -> jax.Array:
    features = as_float("features", features, "2N, D")
    if len(features) % 2:
        raise ValueError(f"features: expected an even number of rows, two views stacked, got {len(features)}")
    return features


def _mixing(mix, permutation, shape: str, **sizes: int) -> tuple[jax.Array, jax.Array]:
    """Mixing weights [anchors, negatives], and the permutation; `shape` names the two axes."""
    mix, permutation = as_float("mix", mix, shape, **sizes), jnp.asarray(permutation)
    negatives = shape.split(", ")[1]
    check_shape("permutation", permutation, negatives, **{negatives: mix.shape[1]})
    check_dtype("permutation", permutation, jnp.integer)
    if (numbers := known_values(permutation)) is not None and sorted(numbers) != list(range(len(numbers))):
        raise ValueError(f"permutation: expected each of 0 to {len(permutation) - 1} once")
    return mix, permutation


def _agreement(direction: jax.Array) -> jax.Array:
    """[2N] cosines of each row with the other view of its image."""
    first, second = jnp.split(direction, 2)
    return jnp.tile(jnp.sum(first * second, axis=-1), 2)


def _select(index: jax.Array, choices: list[jax.Array]) -> jax.Array:
    first, second, third = choices
    return jnp.where(index == 0, first, jnp.where(index == 1, second, third))


def _logits(positive: jax.Array, negatives: jax.Array, temperature: float) -> jax.Array:
    """Logits [M, 1+K] from the cosines with the positive [M] and with the negatives [M, K]."""
    return jnp.concatenate([positive[:, None], negatives], axis=1) / temperature


def _cross_entropy(logits: jax.Array) -> jax.Array:
    """Mean over the rows; the first class is the right one."""
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 0])
