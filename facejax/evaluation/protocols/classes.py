"""Classes that a test split has and its training split has not."""

import numpy as np
from absl import logging

from facejax.evaluation.protocols.protocol import Task


def tell_unseen(task: Task) -> None:
    """Warns of classes that cannot be recognised."""
    unseen = np.setdiff1d(task.test_labels, task.train_labels)
    if len(unseen):
        share = np.isin(task.test_labels, unseen).mean()
        logging.warning(
            "%s: %d classes (%s%s) of the test split are not in the training split; their images, %.1f %% of all, "
            "count as wrong",
            task.key, len(unseen), ", ".join(map(str, unseen[:5])), " ..." * (len(unseen) > 5), 100 * share,
        )  # fmt: skip
