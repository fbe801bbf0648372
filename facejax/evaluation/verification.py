"""Pair verification: are two faces the same person? Ten folds, the threshold of each chosen on the other nine."""

from typing import NamedTuple

import numpy as np

THRESHOLDS = np.arange(0, 4, 0.01)  # of the squared distance between unit vectors, which is 2 - 2 cosine


class Verification(NamedTuple):
    """Result of `verify_pairs`: F folds, T thresholds, all float64."""

    fold_accuracy: np.ndarray  # [F], at the fold's threshold
    fold_threshold: np.ndarray  # [F], of the squared distance
    true_positive_rate: np.ndarray  # [T], mean of the folds
    false_positive_rate: np.ndarray  # [T], mean of the folds

    @property
    def accuracy(self) -> float:
        """Mean of the folds, the number that papers report."""
        return float(self.fold_accuracy.mean())


def verify_pairs(embeddings, same, *, folds: int = 10, thresholds=THRESHOLDS) -> Verification:
    """Ten-fold verification accuracy and ROC of face pairs, the protocol of LFW, CFP-FP, AgeDB-30, CALFW and CPLFW.

    A pair counts as the same person if the squared distance of its unit-length embeddings is *below* the threshold.
    Each fold is evaluated at the threshold with the highest accuracy on the other folds (the smallest of equals).
    Folds are runs of neighbouring pairs, in the order of these data sets' lists; nothing is shuffled.
    It is computed in float64 on the host, which takes milliseconds: at a threshold, every digit counts.

    Args:
      embeddings: [2N, D], pair n in rows 2n and 2n + 1; scaled to unit length here.
      same: [N] bool, whether pair n shows one person.
      folds: number of folds F, at most N.
      thresholds: [T], ascending.

    Returns:
      A `Verification`. A rate whose denominator is 0 in some fold counts as 0 there.

    Raises:
      ValueError: if there are not two embeddings for each entry of `same`, or fewer pairs than folds.

    Source:
      Huang et al., Labeled Faces in the Wild, 2007, "view 2".

    Examples:
      >>> verify_pairs([[1, 0], [1, 0.1], [1, 0], [0, 1]] * 10, [True, False] * 10).accuracy
      1.0
    """
    embeddings = np.asarray(embeddings, np.float64)
    same = np.asarray(same, bool)
    if embeddings.ndim != 2 or len(embeddings) != 2 * len(same) or len(same) < folds:
        raise ValueError(
            f"{len(same)} pairs in {folds} folds need embeddings [{2 * len(same)}, D] and no fewer pairs than folds; "
            f"the embeddings have the shape {embeddings.shape}"
        )
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings = embeddings / np.where(norms > 0, norms, 1)
    distances = np.square(embeddings[0::2] - embeddings[1::2]).sum(1)
    accepted = distances[:, None] < np.asarray(thresholds)  # [N, T]
    correct = accepted == same[:, None]

    accuracy, threshold, true_positive, false_positive = [], [], [], []
    for test in np.array_split(np.arange(len(same)), folds):
        train = np.ones(len(same), bool)
        train[test] = False
        best = int(correct[train].sum(0).argmax())
        accuracy.append(correct[test, best].mean())
        threshold.append(thresholds[best])
        positive = same[test]
        true_positive.append(accepted[test][positive].sum(0) / max(positive.sum(), 1))
        false_positive.append(accepted[test][~positive].sum(0) / max((~positive).sum(), 1))
    return Verification(
        np.array(accuracy), np.array(threshold), np.mean(true_positive, axis=0), np.mean(false_positive, axis=0)
    )
