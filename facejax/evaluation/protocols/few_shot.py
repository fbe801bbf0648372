"""Few-shot: the class whose mean of few images is nearest."""

from typing import Annotated

import numpy as np
from pydantic import Field

from facejax.config_schema.fields import PositiveCount, key
from facejax.errors import UserError
from facejax.evaluation import statistics
from facejax.evaluation.protocols.protocol import Fitted, Outcome, Protocol, Task
from facejax.evaluation.unit_rows import unit_rows

Shots = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, title="a tuple of whole numbers, 1 or more")
]


class FewShot(Fitted):
    """Images of the training split are drawn, as many of each class; the nearest mean decides."""

    shots: Shots = key("images of each class, one number after the other", default=(1, 2, 4, 10))
    repeats: PositiveCount = key("times that the images are drawn", default=10)


def few_shot(task: Task) -> Outcome:
    """accuracy_N_shot, the mean of the draws of N images of each class, and spread_N_shot, their standard deviation."""
    task.check_integers()
    labels = task.train_labels
    classes, counts = np.unique(labels, return_counts=True)
    most = max(task.settings.shots)
    if counts.min() < most:
        few = counts.argmin()
        raise UserError(
            f"{task.key}.shots: {most} images of each class are asked for, and class {classes[few]} has {counts[few]} "
            f"in {task.train.source}"
        )
    if absent := sorted(set(task.test_labels.tolist()) - set(classes.tolist())):
        raise UserError(f"{task.key}: class {absent[0]} of {task.test.source} is not in {task.train.source}")
    found = {}
    for shots in task.settings.shots:
        right = []
        for repeat in range(task.settings.repeats):
            rng = np.random.default_rng([shots, repeat])
            chosen = [rng.choice(np.flatnonzero(labels == one), shots, replace=False) for one in classes]
            means = nearest_mean(task.train.features[np.ravel(chosen)], task.test.features, shots)
            right.append(statistics.mean(classes[means] == task.test_labels))
        found[f"accuracy_{shots}_shot"] = statistics.average(right)
        found[f"spread_{shots}_shot"] = statistics.deviation(right)
    return Outcome.of_test_images(task, found)


def nearest_mean(support, queries, shots: int) -> np.ndarray:
    """The class whose mean is nearest by cosine, [m].

    Features are centred on the mean of the support images and scaled to unit length.

    Args:
      support: [C * shots, D], class after class.
      queries: [m, D].
      shots: images of each class.

    Source: Wang et al., SimpleShot, arXiv 1911.04623 ("CL2N"), here with the mean of the support images.

    Examples:
      >>> nearest_mean(np.array([[0.0, 1], [1, 0]]), np.array([[0.1, 2], [3, 0]]), 1)
      array([0, 1])
    """
    mean = support.mean(0, dtype=np.float64)
    support, queries = (unit_rows(features - mean) for features in (support, queries))
    means = unit_rows(support.reshape(-1, shots, support.shape[1]).mean(1))
    return (queries @ means.T).argmax(1)


FEW_SHOT = Protocol(few_shot, FewShot, lower_is_better=("spread",), untold=("spread",))
