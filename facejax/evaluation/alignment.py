"""Facial landmarks compared with annotated ones: normalised mean error, failure rate, area under the error curve."""

from typing import NamedTuple

import numpy as np
from scipy import integrate

from facejax.errors import UserError

# What an error is divided by: the distance of two places, each the mean of some points; in the order of iBUG (300W)
# and of WFLW.
NORMALIZATIONS = {
    "eye_corners": {68: ((36,), (45,)), 98: ((60,), (72,))},
    "pupils": {68: (range(36, 42), range(42, 48)), 98: ((96,), (97,))},
}
FAILURE = 0.1  # normalised error above which a face counts as failed, for WFLW and COFW
STEP = 1e-4  # between the errors at which the curve is read


class Alignment(NamedTuple):
    """Result of `alignment`."""

    nme: float  # mean over the images
    failure_rate: float  # fraction of the images with an error above the threshold
    auc: float  # area under the fraction of images with at most each error, up to the threshold, divided by it
    errors: np.ndarray  # [N]


def normalized_errors(predicted, true, *, by: str = "eye_corners") -> np.ndarray:
    """Mean distance of each image's points to the annotated ones, divided by the distance of its eyes.

    Args:
      predicted: [N, P, 2] points, x and y in any unit.
      true: [N, P, 2] annotated points in the same unit.
      by: "eye_corners", the outer ones, or "pupils".

    Returns:
      float64 [N].

    Raises:
      UserError: points in an order whose eyes are not known.
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    known = NORMALIZATIONS[by]
    if true.ndim != 3 or true.shape[1] not in known:
        raise UserError(
            f"the normalised error is known for {' or '.join(map(str, known))} points of x and y, not for "
            f"{list(true.shape[1:])}"
        )
    left, right = (true[:, list(points)].mean(1) for points in known[true.shape[1]])
    return np.linalg.norm(predicted - true, axis=2).mean(1) / np.linalg.norm(left - right, axis=1)


def curve(errors: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The cumulative error curve: errors from 0 to the threshold, and the fraction of images with at most that."""
    places = np.linspace(0, threshold, round(threshold / STEP) + 1)
    return places, np.searchsorted(np.sort(errors), places, "right") / len(errors)


def areas(errors: np.ndarray, threshold: float) -> np.ndarray:
    """What each image adds to the area under the curve, divided by the threshold: [N], whose mean is the area.

    By Simpson's rule, as in STAR's code.
    """
    places, _ = curve(errors, threshold)
    return integrate.simpson(errors[:, None] <= places, x=places) / threshold


def alignment(predicted, true, *, threshold: float = FAILURE, by: str = "eye_corners") -> Alignment:
    """How well landmarks are found.

    Args:
      predicted: see `normalized_errors`.
      true: see `normalized_errors`.
      threshold: of failure rate and AUC; 0.1 for WFLW and COFW, 0.05, 0.08 or 0.1 for 300W.
      by: see `normalized_errors`.

    Returns:
      An `Alignment`.

    Raises:
      UserError: see `normalized_errors`.

    Examples:
      >>> true = np.random.default_rng(0).uniform(0, 100, (5, 68, 2))
      >>> alignment(true, true).nme
      0.0
    """
    errors = normalized_errors(predicted, true, by=by)
    area = areas(errors, threshold).mean()
    return Alignment(float(errors.mean()), float((errors > threshold).mean()), float(area), errors)
