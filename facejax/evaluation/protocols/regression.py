"""Ridge regression of quantities such as head pose, and of landmarks."""

import dataclasses

import numpy as np
from absl import logging

from facejax.config_schema.fields import PositiveCount, key
from facejax.errors import UserError
from facejax.evaluation import alignment, ridge, statistics, trained_probe
from facejax.evaluation.protocols.protocol import Fitted, Outcome, Protocol, Task


class BatchNormLinear(Fitted):
    """Batch norm and a linear layer, trained by L1 as PCL's head pose is: 256 px, AdamW."""

    epochs: PositiveCount = key("passes over the training split", default=trained_probe.RECIPES["pcl_pose"].epochs)


def trained(task: Task) -> Outcome:
    """mae, r2 of the last epoch; mae_of_best_epoch."""
    train, test = _numbers(task)
    recipe = dataclasses.replace(trained_probe.RECIPES["pcl_pose"], epochs=task.settings.epochs)
    train, test = (np.asarray(labels, np.float32).reshape(len(labels), -1) for labels in (train, test))
    found = trained_probe.train(recipe, task.train.features, train, task.test.features, test)
    logging.info("%s: the best epoch was %d", task.key, found.best_epoch)
    best = {"mae_of_best_epoch": of_predictions(task, found.best, test)["mae"]}
    return Outcome.of_test_images(task, of_predictions(task, found.last, test) | best)


def regress(task: Task) -> Outcome:
    """mae, r2: means over the entries of the label."""
    train, test = _numbers(task)
    found = ridge.ridge_regression(task.train.features, train, task.test.features, test, groups=task.train_groups)
    logging.info("%s: penalties %s", task.key, " ".join(f"{penalty:g}" for penalty in found.penalty))
    return Outcome.of_test_images(task, of_predictions(task, found.predictions, test))


def _numbers(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The labels of both splits, which are finite numbers."""
    train, test = task.train_labels, task.test_labels
    if test.ndim > 2 or not np.issubdtype(test.dtype, np.number):
        raise task.unsuitable("one or several numbers for an image")
    if not all(np.isfinite(values).all() for values in (train, test)):
        raise UserError(f"{task.key}: some values of '{task.settings.label}' are not finite")
    return train, test


def of_predictions(task: Task, predicted, true) -> dict[str, statistics.Statistic]:
    """mae and r2, and those of each entry that has a name.

    Args:
      task: whose settings have the names.
      predicted: [m, A].
      true: [m, A] or [m].
    """
    true = np.asarray(true, np.float64).reshape(len(predicted), -1)
    residuals = true - predicted
    each = {
        "mae": [statistics.mean(np.abs(column)) for column in residuals.T],
        "r2": [statistics.r2(column, truth) for column, truth in zip(residuals.T, true.T, strict=True)],
    }
    means = {metric: statistics.average(found) for metric, found in each.items()}
    return means | {name: one for metric, found in each.items() for name, one in task.by_name(metric, found).items()}


def align(task: Task) -> Outcome:
    """nme (over the distance of the outer eye corners), failure_rate and auc at 0.1, of [P, 2] points."""
    train, test = task.train_labels, task.test_labels
    if test.ndim != 3 or not np.issubdtype(test.dtype, np.number):
        raise task.unsuitable("[P, 2] points for an image")
    points, true = (labels.reshape(len(labels), -1) for labels in (train, test))
    found = ridge.ridge_regression(task.train.features, points, task.test.features, true, groups=task.train_groups)
    errors = alignment.alignment(found.predictions.reshape(test.shape), test).errors
    return Outcome.of_test_images(
        task,
        {
            "nme": statistics.mean(errors),
            "failure_rate": statistics.mean(errors > alignment.FAILURE),
            "auc": statistics.mean(np.maximum(alignment.FAILURE - errors, 0) / alignment.FAILURE),
        },
    )


RIDGE = Protocol(regress, Fitted, lower_is_better=("mae",))
BATCH_NORM_LINEAR = Protocol(trained, BatchNormLinear, lower_is_better=("mae",))
ALIGNMENT = Protocol(align, Fitted, lower_is_better=("nme", "failure"))
