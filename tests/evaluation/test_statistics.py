"""Statistics of units that count so and so often, against scikit-learn with these counts as weights."""

import numpy as np
import pytest
from random_inputs import generator
from sklearn import metrics

from facejax.evaluation import bootstrap, statistics

UNITS, DRAWS = 80, 5


@pytest.fixture
def counts():
    counts = generator().integers(0, 4, (DRAWS, UNITS)).astype(float)
    counts[0] = 1
    return counts


def weighted(metric, *arrays, counts, **options):
    return [metric(*arrays, sample_weight=row, **options) for row in counts]


def test_classes(counts):
    rng = generator()
    true, told = rng.integers(0, 4, (2, UNITS))
    np.testing.assert_allclose(
        statistics.mean(told == true)(counts), weighted(metrics.accuracy_score, true, told, counts=counts)
    )
    # scikit-learn's balanced accuracy is the mean recall of the classes.
    expected = weighted(metrics.balanced_accuracy_score, true, told, counts=counts)
    np.testing.assert_allclose(statistics.mean_class_accuracy(told, true)(counts), expected)


def test_binary_values(counts):
    true, told = generator().random((2, UNITS)) < 0.4
    expected = weighted(metrics.balanced_accuracy_score, true, told, counts=counts)
    np.testing.assert_allclose(statistics.balanced_accuracy(told, true)(counts), expected)
    np.testing.assert_allclose(statistics.f1(told, true)(counts), weighted(metrics.f1_score, true, told, counts=counts))


@pytest.mark.parametrize("offset", [0, 1e5])
def test_regression(counts, offset):
    rng = generator()
    true = rng.normal(size=UNITS) + offset
    told = true + rng.normal(size=UNITS)
    expected = weighted(metrics.r2_score, true, told, counts=counts)
    np.testing.assert_allclose(statistics.r2(true - told, true)(counts), expected, rtol=1e-6)
    expected = weighted(metrics.mean_absolute_error, true, told, counts=counts)
    np.testing.assert_allclose(statistics.mean(np.abs(true - told))(counts), expected)


def test_what_is_not_defined():
    ones, no = np.ones((1, UNITS)), np.zeros(UNITS, bool)
    some = np.arange(UNITS) < 9
    undefined = [
        statistics.f1(some, no),
        statistics.balanced_accuracy(some, no),
        statistics.balanced_accuracy(some, ~no),
    ]
    undefined += [statistics.r2(np.ones(UNITS), np.full(UNITS, constant)) for constant in (0.0, 0.1, 1e5)]
    assert np.isnan([one(ones)[0] for one in undefined]).all()
    nothing = np.zeros((1, UNITS))
    assert np.isnan([statistics.mean(some)(nothing)[0], statistics.f1(some, some)(nothing)[0]]).all()
    average = statistics.average([undefined[0], statistics.mean(some)])
    assert average(ones)[0] == 9 / UNITS


def test_images_of_a_person_are_drawn_together():
    people = generator().permutation(np.repeat(np.arange(20), 4))
    counts = np.concatenate(list(bootstrap.draws(people, number=300, seed=3)))
    assert counts.shape == (300, 80) and (counts.sum(1) == 80).all()
    assert all(len(set(row[people == person])) == 1 for row in counts for person in range(20))
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.35)  # 6 standard errors, 1 / sqrt(300) each


def test_draws_are_equal_however_many_are_in_hand(monkeypatch):
    whole = np.concatenate(list(bootstrap.draws(np.arange(30), number=10, seed=1)))
    monkeypatch.setattr(bootstrap, "_CHUNK", 90)
    parts = list(bootstrap.draws(np.arange(30), number=10, seed=1))
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_interval_of_a_mean_is_that_of_theory():
    values = generator().normal(size=400)
    one = statistics.mean(values)
    drawn = bootstrap.sample({"mean": one}, np.arange(400), number=4000, seed=0)["mean"]
    found = bootstrap.estimate(one, 400, drawn)
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(1.96 * values.std() / 20, rel=0.12)  # of 4000 draws' percentiles
    assert np.isnan(bootstrap.interval([np.nan, np.nan])).all()
