"""Facial landmarks compared with annotated ones: normalised mean error, failure rate, area under the error curve."""

from typing import NamedTuple

import numpy as np

from facejax.errors import UserError

OUTER_EYE_CORNERS = {68: (36, 45), 98: (60, 72)}  # number of points: indices; in the order of iBUG (300W) and WFLW
FAILURE = 0.1  # normalised error above which a face counts as failed, for WFLW and COFW


class Alignment(NamedTuple):
    """Result of `alignment`."""

    nme: float  # mean over the images
    failure_rate: float  # fraction of the images with an error above the threshold
    auc: float  # area under the fraction of images below each error from 0 to the threshold, divided by the threshold
    errors: np.ndarray  # [N]


def alignment(predicted, true, *, threshold: float = FAILURE) -> Alignment:
    """Mean distance of an image's points to the annotated ones, divided by the distance of the outer eye corners.

    Args:
      predicted: [N, P, 2] points, x and y in any unit.
      true: [N, P, 2] annotated points in the same unit.
      threshold: of failure rate and AUC; 0.1 for WFLW and COFW, 0.05, 0.08 or 0.1 for 300W.

    Returns:
      An `Alignment`.

    Raises:
      UserError: an unsupported number of points.

    Examples:
      >>> true = np.random.default_rng(0).uniform(0, 100, (5, 68, 2))
      >>> alignment(true, true).nme
      0.0
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if true.ndim != 3 or true.shape[1] not in OUTER_EYE_CORNERS:
        known = " or ".join(map(str, OUTER_EYE_CORNERS))
        raise UserError(f"the normalised error is known for {known} points of x and y, not for {list(true.shape[1:])}")
    left, right = OUTER_EYE_CORNERS[true.shape[1]]
    distance = np.linalg.norm(true[:, left] - true[:, right], axis=1)
    errors = np.linalg.norm(predicted - true, axis=2).mean(1) / distance
    # The curve is a staircase: each image adds the part of [0, threshold] above its error.
    auc = np.maximum(threshold - errors, 0).mean() / threshold
    return Alignment(float(errors.mean()), float((errors > threshold).mean()), float(auc), errors)
