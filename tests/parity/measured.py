"""Comparisons with golden vectors that keep what they measured, for the table at the end of `pytest tests/parity`."""

import numpy as np

TABLE: list[tuple[str, float, float]] = []  # what a test compared, its largest error, the tolerance


def close(label: str, found, expected, tolerance: float) -> None:
    """All of an array, within `tolerance` of the largest magnitude of what is expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, label
    _note(label, np.abs(found - expected).max() / np.abs(expected).max(), tolerance)


def relative(label: str, found, expected, tolerance: float) -> None:
    """Every number within `tolerance` of itself."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, label
    _note(label, np.abs(found / expected - 1).max(), tolerance)


def summaries(label: str, found, expected, names, tolerances: tuple[float, float], floor: float) -> None:
    """Norms, and projections divided by norms, of the arrays whose norm is above `floor` of the largest.

    Args:
      label: what is compared.
      found: norm and projection of each array, [N, 2], as `golden.grad_summary` makes them.
      expected: the same of the official arrays.
      names: of the arrays, for the message.
      tolerances: of the norm, relative; of the projection, relative to the norm.
      floor: norms below this fraction of the largest are rounding error.
    """
    found, expected, names = np.asarray(found), np.asarray(expected), np.array(names)
    large = expected[:, 0] > floor * expected[:, 0].max()
    assert large.sum() > 0.7 * len(names)  # the rest are biases before a batch norm, whose gradient is 0
    found, expected, names = found[large], expected[large], names[large]
    norm_error = np.abs(found[:, 0] / expected[:, 0] - 1)
    projection_error = np.abs(found[:, 1] - expected[:, 1]) / expected[:, 0]
    for kind, error, tolerance in zip(("norm", "projection"), (norm_error, projection_error), tolerances, strict=True):
        _note(f"{label}, {kind} (worst: {names[error.argmax()]})", error.max(), tolerance)


def _note(label, error, tolerance):
    TABLE.append((label, float(error), tolerance))
    assert error < tolerance, f"{label}: {error:.2e} is not below {tolerance:.0e}"
