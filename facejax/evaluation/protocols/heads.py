"""Networks with a head of their own: logits and landmarks are judged as they are, and nothing is fitted."""

from typing import Literal

import numpy as np
from absl import logging

from facejax.config_schema.fields import Names, OptionalText, Text, Thresholds, key
from facejax.data.pipeline import FULL_SIZE, ORIGINS
from facejax.errors import UserError
from facejax.evaluation import alignment, error_curve, statistics
from facejax.evaluation.protocols.linear import of_attributes
from facejax.evaluation.protocols.protocol import Outcome, Protocol, Settings, Task


class Answers(Settings):
    """What is reported of a task whose features are the answers."""

    label: Text = key("field of the records that is predicted")

    def splits(self) -> dict[str, set[str]]:
        """Label and groups of the test split; there is no other."""
        return {self.test_split: {self.label, self.groups} - {None}}


class Logits(Answers):
    """Classes or attributes from logits."""

    names: Names = key("names of the label's entries; given, each has its metrics too", default=())


class Points(Answers):
    """Landmarks in pixels of the square that the network sees."""

    thresholds: Thresholds = key("for landmarks: errors from which a face counts as failed", default=(0.1,))
    subset: OptionalText = key(
        "for landmarks: field of the test split that tells subsets: an integer, or a flag for each", default=None
    )
    subset_names: Names = key("names of the subset's values or flags, in their order", default=())
    origin: Literal[*ORIGINS] = key(
        "for landmarks: what (0, 0) is: the centre of the first pixel or the image's corner", default="center"
    )

    def splits(self) -> dict[str, set[str]]:
        """Also the size of each image, and its subsets."""
        ((split, fields),) = super().splits().items()
        return {split: fields | {FULL_SIZE, self.subset} - {None}}


def classify(task: Task) -> Outcome:
    """Of an integer: accuracy, mean_class_accuracy; of [A] binary values: those of `linear.of_attributes`."""
    logits, labels = task.test.features, task.test_labels
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        _check_classes(task, logits.shape[1])
        told = logits.argmax(1)
        accuracies = {
            "accuracy": statistics.mean(told == labels),
            "mean_class_accuracy": statistics.mean_class_accuracy(told, labels),
        }
        return Outcome.of_test_images(task, accuracies)
    if labels.shape != logits.shape or not np.isin(labels, (0, 1)).all():
        raise task.unsuitable(f"one integer, or {logits.shape[1]} zeros and ones")
    return Outcome.of_test_images(task, of_attributes(task, logits >= 0, labels))


def _check_classes(task: Task, count: int) -> None:
    labels = task.test_labels
    if labels.min() < 0 or labels.max() >= count:
        raise UserError(
            f"{task.key}: '{task.settings.label}' of {task.test.source} is {labels.min()} to {labels.max()}, but the "
            f"network has {count} classes, from 0 on"
        )
    if missing := count - len(np.unique(labels)):
        logging.warning(
            "%s: %d of %d classes have no images in %s, and are no part of the mean over classes",
            task.key, missing, count, task.test.source,
        )  # fmt: skip


def find_landmarks(task: Task) -> Outcome:
    """nme, nme_pupils, and at each threshold failure_rate_PERCENT and auc_PERCENT; the same for each subset."""
    labels = task.test_labels
    if labels.ndim != 3 or labels.shape[1] * 2 != task.test.features.shape[1]:
        raise task.unsuitable(f"[{task.test.features.shape[1] // 2}, 2] points for an image")
    points = task.locate(task.test.features.reshape(labels.shape), task.test.fields[FULL_SIZE])
    points += ORIGINS[task.settings.origin]
    errors = alignment.normalized_errors(points, labels)
    pupils = alignment.normalized_errors(points, labels, by="pupils")
    found, curves = {}, {}
    for name, chosen in {"": np.full(len(errors), True), **_subsets(task)}.items():
        suffix = f"_{name}" if name else ""
        values = {"nme": errors, "nme_pupils": pupils}
        for threshold in task.settings.thresholds:
            values[f"failure_rate_{100 * threshold:g}"] = errors > threshold
            values[f"auc_{100 * threshold:g}"] = alignment.areas(errors, threshold)
        found |= {metric + suffix: statistics.mean_within(each, chosen) for metric, each in values.items()}
        curves[name or "all"] = errors[chosen]
    return Outcome.of_test_images(task, found, picture=error_curve.draw(curves, max(task.settings.thresholds)))


def _subsets(task: Task) -> dict[str, np.ndarray]:
    """Name of each subset that has images -> which images are in it, bool [N]."""
    settings = task.settings
    if settings.subset is None:
        return {}
    values, names = task.test.fields[settings.subset], settings.subset_names
    number = values.shape[1] if values.ndim == 2 else int(values.max(initial=0)) + 1
    if len(names) < number:
        raise UserError(
            f"{task.key}.subset_names has {len(names)} names, but '{settings.subset}' tells {number} subsets"
        )
    chosen = {name: values[:, i] > 0 if values.ndim == 2 else values == i for i, name in enumerate(names)}
    return {name: there for name, there in chosen.items() if there.any()}


CLASSIFICATION = Protocol(classify, Logits)
LANDMARKS = Protocol(find_landmarks, Points, lower_is_better=("nme", "failure"))
