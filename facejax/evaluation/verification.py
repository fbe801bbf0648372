"""Pair verification: are two faces the same person? Ten folds, the threshold of each chosen on the other nine."""

from typing import NamedTuple

import numpy as np

from facejax.evaluation.unit_rows import unit_rows

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
    same = np.asarray(same, bool)
    if np.ndim(embeddings) != 2 or len(embeddings) != 2 * len(same) or len(same) < folds:
        raise ValueError(
            f"{len(same)} pairs in {folds} folds need embeddings [{2 * len(same)}, D] and no fewer pairs than folds; "
            f"the embeddings have the shape {np.shape(embeddings)}"
        )
    apart = distances(embeddings)
    accuracy, chosen = choose_and_judge(apart, same, np.ones((1, len(same))), folds=folds, thresholds=thresholds)
    accepted = apart[:, None] < np.asarray(thresholds)  # [N, T]
    true_positive, false_positive = [], []
    for test in np.array_split(np.arange(len(same)), folds):
        positive = same[test]
        true_positive.append(accepted[test][positive].sum(0) / max(positive.sum(), 1))
        false_positive.append(accepted[test][~positive].sum(0) / max((~positive).sum(), 1))
    return Verification(accuracy[0], chosen[0], np.mean(true_positive, axis=0), np.mean(false_positive, axis=0))


def distances(embeddings) -> np.ndarray:
    """Squared distance of the unit-length embeddings of each pair, float64 [N]; arguments as for `verify_pairs`."""
    embeddings = unit_rows(np.asarray(embeddings, np.float64))
    return np.square(embeddings[0::2] - embeddings[1::2]).sum(1)


def choose_and_judge(apart, same, counts, *, folds: int = 10, thresholds=THRESHOLDS) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of each fold at the threshold that is best on the others, and that threshold: [R, F] each.

    Args:
      apart: [N] squared distances.
      same: [N] bool.
      counts: [R, N], how often each pair counts; an empty fold has no accuracy, NaN.
      folds: F.
      thresholds: [T], ascending.
    """
    thresholds = np.asarray(thresholds)
    correct = ((np.asarray(apart)[:, None] < thresholds) == np.asarray(same, bool)[:, None]).astype(np.float64)
    parts = np.array_split(np.arange(len(same)), folds)
    right = np.stack([counts[:, part] @ correct[part] for part in parts], 1)  # [R, F, T]
    size = np.stack([counts[:, part].sum(1) for part in parts], 1)
    best = (right.sum(1, keepdims=True) - right).argmax(2)
    hits = np.take_along_axis(right, best[..., None], 2)[..., 0]
    return np.divide(hits, size, out=np.full(size.shape, np.nan), where=size > 0), thresholds[best]
