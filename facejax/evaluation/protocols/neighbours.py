"""Nearest neighbours: the label of the k most similar images, or of the most similar one."""

from facejax.config_schema.fields import PositiveCount, key
from facejax.evaluation import nearest_neighbours, statistics
from facejax.evaluation.protocols.classes import tell_unseen
from facejax.evaluation.protocols.protocol import Labelled, Outcome, Protocol, Task


class Neighbours(Labelled):
    """k nearest neighbours by cosine, each with one vote; with one split, each image is looked for among the others."""

    k: PositiveCount = key("neighbours that vote", default=20)


def knn(task: Task) -> Outcome:
    """knn_accuracy."""
    return _accuracy(task, "knn_accuracy", task.settings.k)


def retrieval(task: Task) -> Outcome:
    """top1_accuracy."""
    return _accuracy(task, "top1_accuracy", 1)


def _accuracy(task: Task, metric: str, k: int) -> Outcome:
    task.check_integers()
    if task.settings.train_split == task.settings.test_split:
        right, images = nearest_neighbours.knn_correct(task.test.features, task.test_labels, k=k)
    else:
        tell_unseen(task)
        right, images = nearest_neighbours.knn_correct(
            task.train.features, task.train_labels, task.test.features, task.test_labels, k=k
        )
    return Outcome({metric: statistics.mean(right)}, len(images), images)


KNN = Protocol(knn, Neighbours)
RETRIEVAL = Protocol(retrieval, Labelled)
