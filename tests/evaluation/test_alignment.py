"""Normalised mean error against its definition, point by point."""

import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.evaluation import error_curve
from facejax.evaluation.alignment import alignment, normalized_errors


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
    assert result.auc == pytest.approx(curve.mean(), abs=5e-4)  # Simpson's rule has a step of 1e-4 of 0.2


def test_area_is_read_as_in_stars_code():
    rng = generator()
    true = rng.uniform(0, 100, (30, 68, 2))
    result = alignment(true + rng.normal(0, 2, true.shape), true, threshold=0.1)
    shares = np.array([np.count_nonzero(result.errors <= i * 1e-4) / 30 for i in range(1001)])
    weights = np.where(np.arange(1001) % 2, 4, 2)
    weights[[0, -1]] = 1
    assert result.auc == pytest.approx((weights * shares).sum() * 1e-4 / 3 / 0.1)


@pytest.mark.parametrize(("count", "eyes"), [(68, (range(36, 42), range(42, 48))), (98, ((96,), (97,)))])
def test_errors_over_the_distance_of_the_pupils(count, eyes):
    rng = generator()
    true, guess = rng.uniform(0, 100, (2, 4, count, 2))
    for face, other, found in zip(true, guess, normalized_errors(guess, true, by="pupils"), strict=True):
        left, right = (sum(face[i] for i in eye) / len(eye) for eye in eyes)
        mean = sum(np.hypot(*(a - b)) for a, b in zip(face, other, strict=True)) / count
        assert found == pytest.approx(mean / np.hypot(*(left - right)))


def test_curves_rise_from_left_to_right():
    small, large = generator().uniform(0.001, 0.03, 50), generator().uniform(0.06, 0.09, 50)
    picture = error_curve.draw({"small": small, "large": large}, 0.1)
    assert picture.dtype == np.uint8 and picture.shape == (420, 640, 3)
    colors = error_curve.region_colors(2).astype(int)
    lines = picture[: error_curve.HEIGHT - error_curve.BOTTOM - 80]  # above the legend
    first, second = (np.argwhere((lines == color).all(-1))[:, 1].min() for color in colors)
    assert first < 0.4 * 640 < second


def test_does_not_depend_on_the_unit():
    rng = generator()
    true, guess = rng.uniform(0, 1, (2, 4, 68, 2))
    np.testing.assert_allclose(alignment(100 * guess, 100 * true).errors, alignment(guess, true).errors)


def test_an_unknown_order_is_one_line():
    with pytest.raises(UserError, match=r"known for 68 or 98 points of x and y, not for \[5, 2\]"):
        alignment(np.zeros((2, 5, 2)), np.zeros((2, 5, 2)))
