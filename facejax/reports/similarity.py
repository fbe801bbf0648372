"""Which faces an encoder finds alike: neighbours by cosine, and a plane that keeps the faces apart."""

import numpy as np
import scipy.linalg

from facejax.evaluation.unit_rows import unit_rows


def cosines(features: np.ndarray) -> np.ndarray:
    """Similarity of all faces with each other, [N, D] -> float64 [N, N].

    Raises:
      ValueError: a feature is not finite.
    """
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("its features are not finite")
    unit = unit_rows(features)
    return unit @ unit.T


def nearest(similarity: np.ndarray, face: int, count: int) -> np.ndarray:
    """Indices of the faces that are most like one, the most similar first, of equally similar ones the first."""
    others = similarity[face].copy()
    others[face] = -np.inf
    return np.argsort(-others, kind="stable")[: min(count, len(others) - 1)]


def plane(similarity: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components of features of unit length, from their cosines.

    Args:
      similarity: [N, N], as `cosines` gives it.

    Returns:
      Coordinates [N, 2], and the fraction of the variance that they hold. A component has the sign that makes the
      coordinate furthest from zero positive.

    Example:
      >>> plane(cosines(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])))[1].round(6)
      np.float64(1.0)
    """
    count = len(similarity)
    means = similarity.mean(0)
    centred = similarity - means[:, None] - means + means.mean()
    variances, vectors = scipy.linalg.eigh(centred, subset_by_index=[max(count - 2, 0), count - 1])
    coordinates = np.zeros((count, 2))
    coordinates[:, : len(variances)] = (vectors * np.sqrt(variances.clip(0)))[:, ::-1]
    furthest = coordinates[np.abs(coordinates).argmax(0), [0, 1]]
    total = np.trace(centred)
    return coordinates * np.where(furthest < 0, -1, 1), float(variances.clip(0).sum() / total) if total > 0 else 1.0
