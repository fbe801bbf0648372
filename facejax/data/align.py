"""Aligns faces with the template that recognition networks are trained with."""

import cv2
import numpy as np

# Eyes, nose tip and corners of the mouth in a 112 px crop, from the viewer's left to right: x, y of ArcFace's alignment
# (Deng et al. 2019, https://arxiv.org/abs/1801.07698).
TEMPLATE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

_MAX_FINER = 32


def align(image: np.ndarray, five_points: np.ndarray, size: int = 112) -> np.ndarray:
    """Aligns a face with the template of recognition by rotation, scale and shift; beyond the image it is black.

    The similarity has the least squared error over the five points (Umeyama 1991, eq. 40 - 43), as in ArcFace's
    alignment (Deng et al. 2019, https://arxiv.org/abs/1801.07698); pixels are interpolated bilinearly.

    Args:
      image: uint8 [H, W, 3], RGB.
      five_points: [5, 2], x and y in pixels, (0, 0) being the centre of the top left pixel: eyes, nose tip and corners
        of the mouth, from the viewer's left to right. Or iBUG's [68, 2], from which these five are computed.
      size: side of the result S in pixels; the template grows with it.

    Returns:
      uint8 [S, S, 3], RGB.

    Raises:
      ValueError: the image has another type or shape; there are neither 5 nor 68 points, or they coincide or are not
        finite.

    Examples:
      >>> image = np.full((112, 112, 3), 9, np.uint8)
      >>> face = align(image, [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
      >>> face.shape, face[56, 56].tolist()
      ((112, 112, 3), [9, 9, 9])
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image of the face: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    return warp(image, onto_template(five_points, size), size)


def align_with_mirror(image: np.ndarray, points: np.ndarray, size: int = 112) -> np.ndarray:
    """The result of `align` and its mirror image, which recognition is evaluated on together: uint8 [2, S, S, 3]."""
    aligned = align(image, points, size)
    return np.stack([aligned, aligned[:, ::-1]])


def five_points(points: np.ndarray) -> np.ndarray:
    """Eyes, nose tip and corners of the mouth [5, 2]: five points unchanged, or computed from iBUG's 68.

    An eye is the mean of its two corners, as in the official evaluation on IJB, not of its six points.

    Raises:
      ValueError: neither 5 nor 68 points.
    """
    points = np.asarray(points, np.float64)
    if points.shape == (68, 2):
        return np.stack([points[[36, 39]].mean(0), points[[42, 45]].mean(0), points[30], points[48], points[54]])
    if points.shape != (5, 2):
        raise ValueError(f"points of the face: expected [5, 2] or [68, 2], got {list(points.shape)}")
    return points


def onto_template(points: np.ndarray, size: int = 112) -> np.ndarray:
    """The similarity float64 [2, 3] from a face's 5 or 68 points onto the template at `size` px."""
    return similarity(five_points(points), TEMPLATE_112 * (size / 112))


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """An image [H, W, 3] under a matrix [2, 3], bilinear: [size, size, 3]."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def warp_smoothly(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """`warp` at a multiple of the size that preserves the image's resolution, then averaged over squares."""
    finer = min(_MAX_FINER, max(1, round(1 / np.sqrt(np.linalg.det(matrix[:, :2])))))
    fine = matrix * finer
    fine[:, 2] += (finer - 1) / 2  # a point is at the centre of its pixel
    return cv2.resize(warp(image, fine, finer * size), (size, size), interpolation=cv2.INTER_AREA)


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation, scale and shift that map points to a target with the least squared error (Umeyama 1991, eq. 40 - 43).

    Args:
      points: [N, 2].
      target: [N, 2].

    Returns:
      float64 [2, 3], to be multiplied with (x, y, 1).

    Raises:
      ValueError: all points coincide, or they are not finite.

    Examples:
      >>> similarity(np.array([[0, 0], [1, 0]]), np.array([[5, 5], [5, 7]])).round(6).tolist()
      [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]
    """
    points, target = np.asarray(points, np.float64), np.asarray(target, np.float64)
    if not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        raise ValueError("the points of the face are missing, or all the same")
    mean, target_mean = points.mean(0), target.mean(0)
    centred = points - mean
    u, s, vt = np.linalg.svd((target - target_mean).T @ centred)
    sign = np.array([1, np.linalg.det(u) * np.linalg.det(vt)])  # a rotation, not a reflection
    rotation = u @ np.diag(sign) @ vt * ((s * sign).sum() / (centred**2).sum())
    return np.concatenate([rotation, (target_mean - rotation @ mean)[:, None]], axis=1)
