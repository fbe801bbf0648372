"""Ridge regression in closed form: predicts head pose and other quantities from frozen features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.evaluation import statistics
from facejax.evaluation.held_out import held_out
from facejax.evaluation.standardization import standardize

PENALTIES = tuple(np.logspace(-3, 3, 13).tolist())


class Regression(NamedTuple):
    """Result of `ridge_regression` for A targets on the test split."""

    mean_absolute_error: np.ndarray  # [A], in the targets' unit (degrees for head pose)
    r2: np.ndarray  # [A], fraction of the variance explained; 0 = no better than the test split's mean. NaN if constant
    penalty: np.ndarray  # [A], chosen on the held-out part of the training split
    predictions: np.ndarray  # [n_test, A]


def ridge_regression(train, train_targets, test, test_targets, *, groups=None, penalties=PENALTIES) -> Regression:
    """Regress targets on frozen, standardised features, penalty chosen on a held-out fifth of the training split.

    Minimises mean((y - x w - b)^2) + penalty |w|^2 for each target, b not penalised. One eigen-decomposition of the
    features' covariance serves all penalties: O(n D^2 + D^3) for any number of them. Each target has its own penalty.
    The final fit is on the whole training split.

    Args:
      train: [n, D] features.
      train_targets: [n, A] or [n].
      test: [m, D] features.
      test_targets: [m, A] or [m].
      groups: [n] of the training images, held out as a whole; see `held_out`.
      penalties: to try.

    Returns:
      A `Regression`.

    Raises:
      UserError: see `held_out`.

    Examples:
      >>> x = np.linspace(-1, 1, 50)[:, None]
      >>> ridge_regression(x, 30 * x[:, 0], x[::5], 30 * x[::5, 0]).r2.round(3)
      array([1.])
    """
    train_targets, test_targets = (np.asarray(t, np.float32).reshape(len(t), -1) for t in (train_targets, test_targets))
    train, test = standardize(np.asarray(train, np.float32), np.asarray(test, np.float32))
    out = held_out(len(train), groups=groups)
    penalties = jnp.asarray(penalties, jnp.float32)

    candidates = _fit_predict(train, train_targets, (~out).astype(np.float32), train, penalties)
    errors = np.square(np.asarray(candidates)[:, out] - train_targets[out]).mean(1)  # [penalties, A]
    best = errors.argmin(0)
    predictions = _fit_predict(train, train_targets, np.ones(len(train), np.float32), test, penalties)
    predictions = np.asarray(predictions)[best, :, np.arange(train_targets.shape[1])].T

    residual = test_targets.astype(np.float64) - predictions
    columns = zip(residual.T, test_targets.T, strict=True)
    r2 = np.array([statistics.value(statistics.r2(column, truth), len(truth)) for column, truth in columns])
    return Regression(np.abs(residual).mean(0), r2, np.asarray(penalties)[best], predictions)


@jax.jit
def _fit_predict(inputs, targets, weights, queries, penalties):
    """Weighted fit on inputs [n, D], targets [n, A]; predictions [P, q, A] for queries [q, D] with P penalties."""
    with jax.default_matmul_precision("highest"):
        weights = weights / weights.sum()
        mean, level = weights @ inputs, weights @ targets
        centred = inputs - mean
        covariance = (centred * weights[:, None]).T @ centred
        moment = (centred * weights[:, None]).T @ (targets - level)
        eigenvalues, vectors = jnp.linalg.eigh(covariance)
        shrunk = (vectors.T @ moment) / (jnp.maximum(eigenvalues, 0)[:, None] + penalties[:, None, None])  # [P, D, A]
        return ((queries - mean) @ vectors) @ shrunk + level
