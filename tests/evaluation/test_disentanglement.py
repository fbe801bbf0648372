"""Which branch reads what better."""

import pytest

from facejax.evaluation import disentanglement
from facejax.evaluation.protocols import higher_is_better


def test_the_right_branch_wins_above_zero():
    metrics = {
        "pose/trunk/mae": 3.0,
        "pose/face/mae": 10.0,
        "pose/pose/mae": 4.0,
        "pose/face/r2": 0.1,
        "pose/pose/r2": 0.7,
        "expression/face/knn_accuracy": 0.2,
        "expression/pose/knn_accuracy": 0.5,
        "age/face/mae": 2.0,
        "age/pose/mae": 5.0,
    }
    found = disentanglement.advantages(metrics)
    expected = {"pose_mae": 6.0, "pose_r2": 0.6, "expression_knn_accuracy": -0.3, "age_mae": 3.0}
    assert found == {f"disentanglement/{name}": pytest.approx(value) for name, value in expected.items()}
    assert all(higher_is_better(name) for name in found)


def test_other_features_have_none():
    metrics = {"pose/mae": 3.0, "identity/trunk/knn_accuracy": 0.4, "identity/face/knn_accuracy": 0.4}
    assert disentanglement.advantages(metrics) == {}
