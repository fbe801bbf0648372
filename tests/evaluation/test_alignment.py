"""Normalised mean error against its definition, point by point."""

import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.evaluation.alignment import alignment


@pytest.mark.parametrize(("count", "corners"), [(68, (36, 45)), (98, (60, 72))])
def test_is_the_definition(count, corners):
    rng = generator()
    true = rng.uniform(0, 100, (9, count, 2))
    predicted = true + rng.normal(0, 4, true.shape)
    errors = []
    for guess, face in zip(predicted, true, strict=True):
        eyes = np.hypot(*(face[corners[0]] - face[corners[1]]))
        errors.append(sum(np.hypot(*(a - b)) for a, b in zip(guess, face, strict=True)) / count / eyes)
    result = alignment(predicted, true, threshold=0.2)
    np.testing.assert_allclose(result.errors, errors, rtol=1e-12)
    assert result.nme == pytest.approx(np.mean(errors))
    assert result.failure_rate == np.mean(np.array(errors) > 0.2)
    grid = (np.arange(200_000) + 0.5) / 200_000 * 0.2  # the curve, integrated by points
    curve = np.searchsorted(np.sort(errors), grid) / len(errors)
    assert result.auc == pytest.approx(curve.mean(), abs=1e-4)


def test_does_not_depend_on_the_unit():
    rng = generator()
    true, guess = rng.uniform(0, 1, (2, 4, 68, 2))
    np.testing.assert_allclose(alignment(100 * guess, 100 * true).errors, alignment(guess, true).errors)


def test_an_unknown_order_is_one_line():
    with pytest.raises(UserError, match=r"known for 68 or 98 points of x and y, not for \[5, 2\]"):
        alignment(np.zeros((2, 5, 2)), np.zeros((2, 5, 2)))
