"""Linear probe: logistic regression of classes, of attributes, or of intensities above a threshold."""

import dataclasses
from typing import Literal

import numpy as np
from absl import logging

from facejax.config_schema.fields import Count, OptionalNumber, key
from facejax.evaluation import linear_probe, ridge, statistics, trained_probe
from facejax.evaluation.protocols.classes import tell_unseen
from facejax.evaluation.protocols.protocol import Fitted, Outcome, Protocol, Task


class Linear(Fitted):
    """A linear layer on the features: of classes by one of the solvers, of attributes by L-BFGS."""

    solver: Literal["lbfgs", "closed_form", "fra", "pcl"] = key(
        "lbfgs: logistic regression, the penalty chosen on a held-out part; closed_form: ridge regression of the "
        "classes; fra, pcl: the papers' schedules (SGD, 30; Adam, 1e-2), on features of images that are not augmented",
        default="lbfgs",
    )
    epochs: Count = key("epochs of the papers' schedules; 0: as many as they have", default=0)

    threshold: OptionalNumber = key(
        "for linear on intensities: positive from here on (action units: 2 of 5)", default=None
    )


def linear(task: Task) -> Outcome:
    """Of an integer: linear_accuracy, linear_mean_class_accuracy, with a paper's schedule those of the last epoch, and
    best_epoch_accuracy, the best of all on the test split; of [A] binary values: those of `attributes`."""
    labels = task.train_labels
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and task.settings.threshold is None:
        return _classes(task)
    return _attributes(task)


def _classes(task: Task) -> Outcome:
    tell_unseen(task)
    solver, classes = task.settings.solver, np.unique(task.train_labels)
    found = {}
    if solver == "lbfgs":
        fitted = linear_probe.linear_probe(
            task.train.features, task.train_labels, task.test.features, task.test_labels, groups=task.train_groups
        )
        logging.info("%s: penalty %g", task.key, fitted.penalty)
        predictions = fitted.predictions
    elif solver == "closed_form":
        targets = [(labels[:, None] == classes).astype(np.float32) for labels in (task.train_labels, task.test_labels)]
        fitted = ridge.ridge_regression(
            task.train.features, targets[0], task.test.features, targets[1], groups=task.train_groups
        )
        predictions = classes[fitted.predictions.argmax(1)]
    else:
        recipe = trained_probe.RECIPES[solver]
        recipe = dataclasses.replace(recipe, epochs=task.settings.epochs or recipe.epochs)
        targets = np.searchsorted(classes, task.train_labels).astype(np.int32)
        known = np.searchsorted(classes, task.test_labels).astype(np.int32)
        known = np.where(np.isin(task.test_labels, classes), known, -1)
        fitted = trained_probe.train(recipe, task.train.features, targets, task.test.features, known)
        predictions = classes[fitted.last.argmax(1)]
        best = classes[fitted.best.argmax(1)] == task.test_labels
        logging.info("%s: the best epoch was %d", task.key, fitted.best_epoch)
        found = {"best_epoch_accuracy": statistics.mean(best)}
    found = {
        "linear_accuracy": statistics.mean(predictions == task.test_labels),
        "linear_mean_class_accuracy": statistics.mean_class_accuracy(predictions, task.test_labels),
    } | found
    return Outcome.of_test_images(task, found)


def _attributes(task: Task) -> Outcome:
    labels, threshold = (task.train_labels, task.test_labels), task.settings.threshold
    if threshold is not None:
        labels = tuple(values >= threshold for values in labels)
    if labels[0].ndim != 2 or not all(np.isin(values, (0, 1)).all() for values in labels):
        raise task.unsuitable("one integer, or several zeros and ones (or a 'threshold' that makes them)")
    found = linear_probe.attribute_probe(
        task.train.features, labels[0], task.test.features, labels[1], groups=task.train_groups
    )
    logging.info("%s: penalty %g", task.key, found.penalty)
    return Outcome.of_test_images(task, of_attributes(task, found.predictions, labels[1]))


def of_attributes(task: Task, predicted, true) -> dict[str, statistics.Statistic]:
    """mean_accuracy (the field's headline for attributes), mean_balanced_accuracy (which tells more where an attribute
    is rare), mean_f1 (the headline for action units), and those of each attribute that has a name.

    Args:
      task: whose settings have the names.
      predicted: bool [m, A].
      true: [m, A] of 0 and 1.
    """
    pairs = list(zip(predicted.T, np.asarray(true).astype(bool).T, strict=True))
    each = {
        "accuracy": [statistics.mean(told == truth) for told, truth in pairs],
        "balanced_accuracy": [statistics.balanced_accuracy(told, truth) for told, truth in pairs],
        "f1": [statistics.f1(told, truth) for told, truth in pairs],
    }
    means = {f"mean_{metric}": statistics.average(found) for metric, found in each.items()}
    return means | {name: one for metric, found in each.items() for name, one in task.by_name(metric, found).items()}


LINEAR = Protocol(linear, Linear, untold=("best",))
