import numpy as np
import pytest
from random_inputs import generator

from facejax.evaluation import verification


def reference(embeddings, same, folds, thresholds):
    """The protocol spelled out pair by pair."""
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    distance = [np.sum((embeddings[2 * i] - embeddings[2 * i + 1]) ** 2) for i in range(len(same))]
    bounds = np.cumsum([0] + [len(same) // folds + (f < len(same) % folds) for f in range(folds)])
    accuracies, chosen = [], []
    for fold in range(folds):
        test = range(bounds[fold], bounds[fold + 1])
        train = [i for i in range(len(same)) if i not in test]
        scores = [np.mean([(distance[i] < t) == same[i] for i in train]) for t in thresholds]
        chosen.append(thresholds[scores.index(max(scores))])
        accuracies.append(np.mean([(distance[i] < chosen[-1]) == same[i] for i in test]))
    return accuracies, chosen


def test_equals_the_protocol_spelled_out_also_for_folds_of_unequal_size():
    rng = generator()
    same = rng.random(67) < 0.5
    first = rng.standard_normal((67, 6))
    second = np.where(same[:, None], first, 0) + rng.standard_normal((67, 6))
    embeddings = np.stack([first, second], 1).reshape(134, 6) * np.exp(rng.standard_normal((134, 1)))
    thresholds = np.arange(0, 4, 0.1)
    result = verification.verify_pairs(embeddings, same, folds=10, thresholds=thresholds)
    accuracy, chosen = reference(embeddings, same, 10, thresholds)
    np.testing.assert_allclose(result.fold_accuracy, accuracy)
    np.testing.assert_array_equal(result.fold_threshold, chosen)
    assert result.accuracy == pytest.approx(np.mean(accuracy))
    assert (np.diff(result.true_positive_rate) >= 0).all() and (np.diff(result.false_positive_rate) >= 0).all()


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="20 pairs in 10 folds need embeddings"):
        verification.verify_pairs(np.ones((39, 4)), np.ones(20))
    with pytest.raises(ValueError, match="no fewer pairs than folds"):
        verification.verify_pairs(np.ones((10, 4)), np.ones(5))
