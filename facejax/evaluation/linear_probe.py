"""Linear probes: logistic regression on frozen features, for classes and for binary attributes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facejax.evaluation import statistics
from facejax.evaluation.held_out import held_out
from facejax.evaluation.standardization import standardize

PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)  # strongest first: each fit starts where the previous one ended
MAX_ITERATIONS = 300
TOLERANCE = 1e-6  # an iteration that lowers the loss by a smaller fraction of it (or of 1) gains nothing in float32
PATIENCE = 5  # stop after so many of them: where features are nearly dependent, one short step may precede longer ones


class Classification(NamedTuple):
    """Result of `linear_probe` on the test split."""

    accuracy: float
    mean_class_accuracy: float  # mean over the test split's classes of the fraction recognised
    penalty: float  # chosen on the held-out part of the training split
    predictions: np.ndarray  # [m] labels


class Attributes(NamedTuple):
    """Result of `attribute_probe` for A binary attributes on the test split."""

    accuracy: np.ndarray  # [A]; its mean is what papers report (CelebA), but rare attributes make it saturate
    balanced_accuracy: (
        np.ndarray
    )  # [A], mean of both values' recall: 0.5 is chance. NaN if the test split has one value
    f1: np.ndarray  # [A], of the positive value, reported for action units. NaN if the test split has no positive
    penalty: float  # chosen on the held-out part of the training split
    predictions: np.ndarray  # [m, A] bool


def linear_probe(train, train_labels, test, test_labels, *, groups=None, penalties=PENALTIES) -> Classification:
    """Multinomial logistic regression on frozen, standardised features, by L-BFGS.

    Minimises mean(cross-entropy) + penalty/2 |W|^2, intercepts not penalised. The penalty is the one with the smallest
    cross-entropy on a held-out fifth of the training split; the final fit is on the whole training split. The classes
    are those of the training split: a test image of another class counts as wrong.

    Args:
      train: [n, D] features.
      train_labels: [n] integers.
      test: [m, D] features.
      test_labels: [m] integers.
      groups: [n] of the training images, held out as a whole; see `held_out`.
      penalties: to try, strongest first.

    Returns:
      A `Classification`.

    Raises:
      UserError: see `held_out`.

    Examples:
      >>> x = np.random.default_rng(0).normal(size=(200, 8))
      >>> linear_probe(x[:150], x[:150, 0] > 0, x[150:], x[150:, 0] > 0).accuracy > 0.9
      True
    """
    train_labels, test_labels = np.asarray(train_labels), np.asarray(test_labels)
    classes, targets = np.unique(train_labels, return_inverse=True)
    out = held_out(len(targets), labels=targets, groups=groups)
    logits, penalty = _chosen_logits(train, targets.astype(np.int32), test, len(classes), out, penalties)
    predictions = classes[logits.argmax(1)]
    measured = (statistics.mean(predictions == test_labels), statistics.mean_class_accuracy(predictions, test_labels))
    return Classification(*(statistics.value(one, len(predictions)) for one in measured), penalty, predictions)


def attribute_probe(train, train_labels, test, test_labels, *, groups=None, penalties=PENALTIES) -> Attributes:
    """Logistic regression for each of A binary attributes on frozen, standardised features, by L-BFGS.

    Like `linear_probe`, with binary cross-entropy summed over the attributes and one penalty for all of them. An
    attribute is predicted where its probability is above 0.5.

    Args:
      train: [n, D] features.
      train_labels: [n, A] of 0 and 1 (or bool).
      test: [m, D] features.
      test_labels: [m, A].
      groups: [n] of the training images, held out as a whole; see `held_out`.
      penalties: to try, strongest first.

    Returns:
      An `Attributes`.

    Raises:
      UserError: see `held_out`.
    """
    train_labels, truth = np.asarray(train_labels, np.float32), np.asarray(test_labels).astype(bool)
    out = held_out(len(train_labels), groups=groups)
    logits, penalty = _chosen_logits(train, train_labels, test, train_labels.shape[1], out, penalties)
    predictions = logits > 0
    measured = [
        np.array([statistics.value(metric(*pair), len(truth)) for pair in zip(predictions.T, truth.T, strict=True)])
        for metric in (statistics.balanced_accuracy, statistics.f1)
    ]
    return Attributes((predictions == truth).mean(0), *measured, penalty, predictions)


def _chosen_logits(train, targets, test, outputs, out, penalties):
    """Logits [m, outputs] of the test split from the fit with the best penalty, and that penalty."""
    train, test = standardize(np.asarray(train, np.float32), np.asarray(test, np.float32))
    fitted = ~out / np.float32((~out).sum())
    judged = out / np.float32(out.sum())
    start = {"kernel": jnp.zeros((train.shape[1], outputs)), "bias": jnp.zeros(outputs)}

    params, path = start, []
    for penalty in penalties:
        params = _fit(train, targets, fitted.astype(np.float32), penalty, params)
        path.append((float(_loss(params, train, targets, judged.astype(np.float32))), penalty, params))
    _, penalty, params = min(path, key=lambda entry: entry[0])
    everything = np.full(len(train), 1 / len(train), np.float32)
    params = _fit(train, targets, everything, penalty, params)
    return np.asarray(_logits(params, test)), penalty


@jax.jit
def _logits(params, inputs):
    return jnp.matmul(inputs, params["kernel"], precision="highest") + params["bias"]


@jax.jit
def _loss(params, inputs, targets, weights):
    """Weighted cross-entropy; targets are [n] classes, or [n, A] zeros and ones."""
    logits = _logits(params, inputs)
    if targets.ndim == 1:
        return weights @ optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return weights @ optax.sigmoid_binary_cross_entropy(logits, targets).sum(1)


@jax.jit
def _fit(inputs, targets, weights, penalty, start):
    """Minimise the weighted loss plus penalty/2 |kernel|^2 by L-BFGS."""

    def objective(params):
        return _loss(params, inputs, targets, weights) + penalty / 2 * jnp.square(params["kernel"]).sum()

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry):
        params, state, iteration, idle = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=objective)
        gain = (value - optax.tree.get(state, "value")) / jnp.maximum(jnp.abs(value), 1)
        return optax.apply_updates(params, updates), state, iteration + 1, jnp.where(gain > TOLERANCE, 0, idle + 1)

    def unfinished(carry):
        return (carry[2] < MAX_ITERATIONS) & (carry[3] < PATIENCE)

    return jax.lax.while_loop(unfinished, step, (start, solver.init(start), 0, 0))[0]
