"""Linear probe: logistic regression of classes, of attributes, or of intensities above a threshold."""

import numpy as np
from absl import logging

from facejax.config_schema.fields import OptionalNumber, key
from facejax.evaluation import linear_probe, statistics
from facejax.evaluation.protocols.classes import tell_unseen
from facejax.evaluation.protocols.protocol import Fitted, Outcome, Protocol, Task


class Linear(Fitted):
    """Logistic regression on standardised features by L-BFGS."""

    threshold: OptionalNumber = key(
        "for linear on intensities: positive from here on (action units: 2 of 5)", default=None
    )


def linear(task: Task) -> Outcome:
    """Of an integer: linear_accuracy, linear_mean_class_accuracy; of [A] binary values: those of `attributes`."""
    labels = task.train_labels
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and task.settings.threshold is None:
        return _classes(task)
    return _attributes(task)


def _classes(task: Task) -> Outcome:
    tell_unseen(task)
    found = linear_probe.linear_probe(
        task.train.features, task.train_labels, task.test.features, task.test_labels, groups=task.train_groups
    )
    logging.info("%s: penalty %g", task.key, found.penalty)
    return Outcome.of_test_images(
        task,
        {
            "linear_accuracy": statistics.mean(found.predictions == task.test_labels),
            "linear_mean_class_accuracy": statistics.mean_class_accuracy(found.predictions, task.test_labels),
        },
    )


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


LINEAR = Protocol(linear, Linear)
