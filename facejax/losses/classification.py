"""Losses for labelled classes and attributes, with which heads are fine-tuned."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Integer

from facejax.losses.arguments import as_float, as_targets


def cross_entropy(
    logits: Float[ArrayLike, "N C"], labels: Integer[ArrayLike, " N"] | Float[ArrayLike, "N C"]
) -> Float[Array, ""]:
    """Softmax cross-entropy, mean over the batch.

    Args:
      logits: [N, C].
      labels: integer [N], or soft [N, C] (mixup, label smoothing).

    Returns:
      A float32 scalar.

    Raises:
      ValueError: a shape differs from the above, or a label is out of range. Under `jax.jit`, where labels are unknown,
        the loss is NaN instead.
      TypeError: labels [N] that are not integers, or integers instead of floats.

    Source: Bishop, "Pattern recognition and machine learning", 2006, equation 4.108.

    Examples:
      >>> import jax.numpy as jnp
      >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]))
      >>> round(float(cross_entropy(logits, jnp.array([0, 2]))), 4)  # log 2
      0.6931
    """
    logits = as_float("logits", logits, "N, C")
    target = as_targets("labels", labels, logits)
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits, axis=-1), axis=-1))


def binary_cross_entropy(logits: Float[ArrayLike, "N A"], targets: Float[ArrayLike, "N A"]) -> Float[Array, ""]:
    """Cross-entropy of A binary attributes, mean over images and attributes.

    Args:
      logits: [N, A]; an attribute is present with probability sigmoid(logit).
      targets: [N, A] floats, 1 where the attribute is present and 0 where it is not.

    Returns:
      A float32 scalar.

    Raises:
      ValueError: the shapes are not [N, A], or differ.
      TypeError: integers instead of floats.

    Source: Bishop, "Pattern recognition and machine learning", 2006, equation 4.90.

    Examples:
      >>> import jax.numpy as jnp
      >>> round(float(binary_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]))), 4)  # log 2
      0.6931
    """
    logits = as_float("logits", logits, "N, A")
    n, a = logits.shape
    targets = as_float("targets", targets, "N, A", N=n, A=a)
    # The logarithms of sigmoid(x) and of 1 - sigmoid(x), neither of which underflows.
    return -jnp.mean(targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits))
