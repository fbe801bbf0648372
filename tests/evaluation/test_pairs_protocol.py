"""Pairs: those of the records, of a list, drawn; TAR and FAR against scikit-learn."""

import numpy as np
import pytest
from random_inputs import generator
from sklearn import metrics

from facejax.errors import UserError
from facejax.evaluation import verification
from facejax.evaluation.protocols import PROTOCOLS, roc
from facejax.evaluation.protocols.pairs import Pairs
from facejax.evaluation.protocols.protocol import Split, Task

PEOPLE, IMAGES = 30, 6


def faces():
    """Features [N, D] of people, whose images resemble each other, and whose images they are."""
    rng = generator()
    people = np.repeat(np.arange(PEOPLE), IMAGES)
    return rng.normal(size=(PEOPLE, 8))[people] + 0.3 * rng.normal(size=(len(people), 8)), people


def run(features, labels, there=None, **settings):
    settings = Pairs(protocol="verification", data="x", **{"label": "same"} | settings)
    split = Split(features, {settings.label: labels}, there, "faces (test)")
    return PROTOCOLS["verification"].run(Task("config.tasks.pairs", settings, {"test": split}))


def test_levels_are_those_of_a_whole_pair():
    same = np.arange(200) < 100  # and 100 pairs of two people
    assert roc.levels_of(same, (1e-1, 1e-2, 1e-3)) == [1e-1, 1e-2]


def test_tar_and_far_equal_scikit_learn():
    rng = generator()
    features, same = rng.normal(size=(800, 5)), np.repeat(rng.random(400) < 0.5, 2).astype(int)
    features[1::2] += np.where(same[::2, None] == 1, features[::2], 0)
    features = features.round(1)  # some pairs at the same distance
    outcome = run(features, same)
    counts = np.stack([np.ones(400), rng.integers(0, 3, 400)]).astype(float)
    for row in counts:
        scores = -verification.distances(features)
        far, tar, _ = metrics.roc_curve(same[::2], scores, sample_weight=row, drop_intermediate=False)
        for level in (0.1, 0.01):
            found = outcome.statistics[f"tar_at_far_{level:.0e}".replace("e-0", "e-")](row[None])[0]
            assert found == pytest.approx(tar[far <= level + 1e-12].max())
    assert outcome.metrics()["verification_accuracy"] == verification.verify_pairs(features, same[::2]).accuracy
    assert set(outcome.metrics()) == {"verification_accuracy", "tar_at_far_1e-1", "tar_at_far_1e-2"}
    assert outcome.units == 400 and outcome.curve.x[-1] == outcome.curve.y[-1] == 1


def test_a_pair_that_counts_twice_is_a_pair_that_is_there_twice():
    rng = generator()
    distances, same = rng.random(20) * 2, rng.random(20) < 0.5
    counts = np.ones((1, 20))
    counts[0, 4:6] = 2, 0  # in the third fold of ten
    moved = distances.copy(), same.copy()
    for array in moved:
        array[5] = array[4]
    accuracy, threshold = verification.choose_and_judge(distances, same, counts)
    again, chosen = verification.choose_and_judge(*moved, np.ones((1, 20)))
    np.testing.assert_allclose(accuracy, again)
    np.testing.assert_array_equal(threshold, chosen)


def test_drawn_pairs():
    features, people = faces()
    outcome = run(features, people, label="identity", drawn=400)
    assert outcome.units == 400 and outcome.metrics()["verification_accuracy"] > 0.8
    assert outcome.metrics() == run(features, people, label="identity", drawn=400).metrics()
    with pytest.raises(UserError, match="pairs need two people"):
        run(features, np.zeros(len(people), int), label="identity", drawn=400)


def test_list_of_pairs(tmp_path):
    features, people = faces()
    first, second = generator().integers(0, len(people), (2, 100))
    same = people[first] == people[second]
    same[:3], second[:3] = True, first[:3]
    lines = [f"{one} {two} {int(truth)}" for one, two, truth in zip(first, second, same, strict=True)]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines))
    found = run(features, people, list=str(path)).metrics()
    rows = np.stack([first, second], 1).ravel()
    assert found["verification_accuracy"] == verification.verify_pairs(features[rows], same).accuracy

    there = np.arange(len(people)) != first[7]
    with pytest.raises(UserError, match=rf"pairs.txt, line \d+: there is no image {first[7]} in faces \(test\)"):
        run(features[there], people[there], there, list=str(path))
    path.write_text("\n".join([*lines[:20], f"3 {len(people)} 0"]))
    with pytest.raises(UserError, match=rf"line 21: there is no image {len(people)} in faces .*, which has 180"):
        run(features, people, list=str(path))
    path.write_text("1 2 1\n1 b 0")
    with pytest.raises(UserError, match=r"line 2: '1 b 0' is not the numbers of two records and 0 or 1"):
        run(features, people, list=str(path))
    path.write_text("1 2 1\n1 9 0")
    with pytest.raises(UserError, match="has 2 pairs: 10 folds need as many"):
        run(features, people, list=str(path))


def test_pairs_of_one_kind_tell_nothing():
    with pytest.raises(UserError, match="all 20 pairs are of one person"):
        run(np.ones((40, 3)), np.ones(40, int))
