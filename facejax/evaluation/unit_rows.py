"""Features of unit length, whose products are cosines."""

import numpy as np


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows [N, D] divided by their length; rows of zeros stay zeros.

    Examples:
      >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
      array([[0.6, 0.8],
             [0. , 0. ]])
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)
