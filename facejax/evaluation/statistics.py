"""Metrics as functions of how often each unit of a test split counts, so they can be bootstrapped.

A statistic takes counts [R, U], R draws of U units (images, pairs), and gives [R] values; 1 for each unit is the metric
itself. NaN if undefined, as for a class that was not drawn.
"""

from collections.abc import Callable, Sequence

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]


def value(statistic: Statistic, units: int) -> float:
    """The metric itself: every one of the `units` counts once."""
    return float(statistic(np.ones((1, units)))[0])


def mean(values) -> Statistic:
    """Mean of the units' values [U]; of correctness, the accuracy.

    Examples:
      >>> value(mean([True, False, True, True]), 4)
      0.75
    """
    values = np.asarray(values, np.float64)
    return lambda counts: _ratio(counts @ values, counts.sum(1))


def mean_within(values, chosen) -> Statistic:
    """Mean of the values [U] of the units that are chosen, bool [U]; NaN where there are none."""
    values, chosen = np.asarray(values, np.float64), np.asarray(chosen, np.float64)
    return lambda counts: _ratio(counts @ (values * chosen), counts @ chosen)


def average(statistics: Sequence[Statistic]) -> Statistic:
    """Mean of those of several statistics that are defined."""

    def statistic(counts):
        each = np.stack([one(counts) for one in statistics])
        defined = ~np.isnan(each)
        return _ratio(np.where(defined, each, 0).sum(0), defined.sum(0))

    return statistic


def deviation(statistics: Sequence[Statistic]) -> Statistic:
    """Standard deviation of several statistics, of a sample; NaN of one."""

    def statistic(counts):
        if len(statistics) < 2:
            return np.full(len(counts), np.nan)
        return np.std([one(counts) for one in statistics], axis=0, ddof=1)

    return statistic


def mean_class_accuracy(predicted, true) -> Statistic:
    """Mean over the classes of `true` [U] of the fraction recognised."""
    right, true = np.asarray(predicted) == np.asarray(true), np.asarray(true)
    return average([mean_within(right, true == label) for label in np.unique(true)])


def balanced_accuracy(predicted, true) -> Statistic:
    """Mean of both values' recall, of bool [U]; 0.5 is chance. NaN unless both values occur."""
    predicted, true = np.asarray(predicted, bool), np.asarray(true, bool)
    positive, negative = mean_within(predicted, true), mean_within(~predicted, ~true)
    return lambda counts: (positive(counts) + negative(counts)) / 2


def f1(predicted, true) -> Statistic:
    """F1 of the positive value, of bool [U]; NaN where none is positive."""
    predicted, true = np.asarray(predicted, bool), np.asarray(true, bool)
    hits, told, positive = (values.astype(np.float64) for values in (predicted & true, predicted, true))

    def statistic(counts):
        score = _ratio(2 * counts @ hits, counts @ told + counts @ positive)
        return np.where(counts @ positive > 0, score, np.nan)

    return statistic


def r2(residuals, true) -> Statistic:
    """Fraction of the variance of `true` [U] explained: 0, no better than their mean. NaN where all are equal."""
    true = np.asarray(true, np.float64)
    noise = 1e-25 * np.square(true).sum()
    true = true - true.mean()  # squares of large values lose digits
    squared = np.square(np.asarray(residuals, np.float64))

    def statistic(counts):
        total = counts @ np.square(true) - np.square(counts @ true) / counts.sum(1)
        return np.where(total > noise, 1 - _ratio(counts @ squared, total), np.nan)

    return statistic


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
