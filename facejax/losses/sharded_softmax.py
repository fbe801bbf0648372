"""Margin softmax over very many classes, with the weight rows split over devices."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, ArrayLike, Float, Integer

from facejax.losses.arguments import as_float, check_dtype, check_shape


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows of the weights are classes, how they are split, and how many take part.

    Attributes:
      num_classes: number of rows that are classes, the others being padding; None: all.
      axis: mesh axis that the rows are split over, in the mesh of `jax.set_mesh`; it must divide their number. If it is
        not the batch's axis `data`, examples stay split over `data`.
      sampled: fraction of the rows that take part (partial FC): those of the right classes, and others at random. Each
        part of the rows must then contribute at least N * M of them.
    """

    num_classes: int | None = None
    axis: str | None = None
    sampled: float = 1.0


def margin_softmax(
    embeddings: Float[ArrayLike, "N D"],
    weights: Float[ArrayLike, "C D"],
    labels: Integer[ArrayLike, "N M"],
    shares: Float[ArrayLike, "N M"],
    logits: Callable,
    *,
    rows: Rows = Rows(),
    rng: jax.Array | None = None,
) -> Float[Array, " N"]:
    """Softmax cross-entropy of `logits(embeddings, weights, labels)`, such as `cosface`, computed where the rows are.

    With `rows.axis`, each device holds a part of the rows and computes the logits of these classes only. Two reductions
    of a few numbers per example then combine the largest logit, the sum of exponentials and the logits of the right
    classes. No array of size [N, C] is ever gathered. Without it, the same is computed in one place.

    Args:
      embeddings: [N, D].
      weights: [C, D], one row for each class.
      labels: integer [N, M], the M right classes of each example: 1, or 2 after mixup.
      shares: [N, M], the weight of each label; they sum to 1.
      logits: `(embeddings, weights, soft labels [N, C']) -> [N, C']`.
      rows: which rows of the weights are classes, how they are split, and how many take part.
      rng: random key, required for `rows.sampled` below 1.

    Returns:
      A float32 loss for each example, [N]; NaN where a label is out of range.

    Raises:
      ValueError: a shape differs from the above, `rows.sampled` is too small, or `rng` is missing.
      TypeError: integers instead of floats, or vice versa.

    Source: the sharding and sampling of An et al., "Partial FC: training 10 million identities on a single machine",
    arXiv 2010.05222.

    Examples:
      >>> from facejax.losses import cosface
      >>> loss = margin_softmax(jnp.eye(2), jnp.eye(2), jnp.array([[0], [0]]), jnp.ones((2, 1)), cosface)
      >>> [round(float(x), 1) for x in loss]
      [0.0, 89.6]
    """
    embeddings = as_float("embeddings", embeddings, "N, D")
    n, d = embeddings.shape
    weights = as_float("weights", weights, "C, D", D=d)
    labels = jnp.asarray(labels)
    check_shape("labels", labels, "N, M", N=n)
    check_dtype("labels", labels, jnp.integer)
    shares = as_float("shares", shares, "N, M", N=n, M=labels.shape[1])
    mesh, axis = jax.sharding.get_abstract_mesh(), rows.axis
    parts = mesh.shape[axis] if axis in mesh.axis_names else 1
    examples_axis = "data" if axis != "data" and "data" in mesh.axis_names else None
    most_labels = labels.size // (mesh.shape["data"] if parts > 1 and examples_axis else 1)
    each = len(weights) // parts
    keep = each if rows.sampled >= 1 else round(each * rows.sampled)
    if len(weights) % parts:
        raise ValueError(f"weights: {len(weights)} rows cannot be split over {parts} devices")
    if keep < each and (rng is None or keep < most_labels):
        raise ValueError(
            f"sampled: {rows.sampled} keeps {keep} rows of {each} on a device; it needs rng, and at least as many rows "
            f"as there are labels ({most_labels})"
        )
    num_classes, axis = rows.num_classes or len(weights), axis if parts > 1 else None

    def part(embeddings, weights, labels, shares):
        classes = jnp.arange(each) + (each * jax.lax.axis_index(axis) if axis else 0)
        if keep < each:
            chosen = _sample_rows(jax.random.fold_in(rng, classes[0]), classes, labels, num_classes, keep)
            weights, classes = weights[chosen], classes[chosen]
        target = jnp.sum(shares[..., None] * (labels[..., None] == classes), axis=1)
        scores = jnp.where(classes < num_classes, logits(embeddings, weights, target), -1e30)
        known = jnp.all((labels >= 0) & (labels < num_classes), axis=1)
        return jnp.where(known, _cross_entropy(scores, target, axis), jnp.nan)

    if parts == 1:
        return part(embeddings, weights, labels, shares)
    batch = PartitionSpec(examples_axis)
    return jax.shard_map(part, in_specs=(batch, PartitionSpec(axis), batch, batch), out_specs=batch)(
        embeddings, weights, labels, shares
    )


def _cross_entropy(scores, target, axis):
    """Softmax cross-entropy [N] of the scores [N, C] of a part of the classes, all parts along the axis together."""
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1))
    largest = jax.lax.pmax(largest, axis) if axis else largest
    sums = jnp.stack([jnp.sum(jnp.exp(scores - largest[:, None]), axis=-1), jnp.sum(target * scores, axis=-1)])
    exponentials, right = jax.lax.psum(sums, axis) if axis else sums
    return jnp.log(exponentials) + largest - right


def _sample_rows(rng, classes, labels, num_classes, keep):
    """The `keep` rows that take part: all right classes, then others at random, padding last."""
    order = jnp.where(jnp.isin(classes, labels), 2.0, jax.random.uniform(rng, classes.shape))
    return jax.lax.top_k(jnp.where(classes < num_classes, order, -1.0), keep)[1]
