"""Compares gradients and changes of many arrays with the two numbers that the golden vectors keep of each."""

import numpy as np


def assert_summaries(found, expected, names, norm_tolerance, projection_tolerance, floor):
    """Norms, and projections divided by norms, of the arrays whose norm is above `floor` of the largest.

    Args:
      found: norm and projection of each array, [N, 2], as `golden.grad_summary` makes them.
      expected: the same of the official arrays.
      names: of the arrays, for the message.
      norm_tolerance: relative.
      projection_tolerance: relative to the norm.
      floor: norms below this share of the largest are rounding error.
    """
    large = expected[:, 0] > floor * expected[:, 0].max()
    assert large.sum() > 0.9 * len(names)
    found, expected, names = found[large], expected[large], np.array(names)[large]
    norm_error = np.abs(found[:, 0] / expected[:, 0] - 1)
    projection_error = np.abs(found[:, 1] - expected[:, 1]) / expected[:, 0]
    assert norm_error.max() < norm_tolerance, names[norm_error.argmax()]
    assert projection_error.max() < projection_tolerance, names[projection_error.argmax()]
