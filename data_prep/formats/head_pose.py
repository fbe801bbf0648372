"""Head pose: converts the data sets' formats to yaw, pitch and roll in degrees, with common signs.

Yaw is positive when the nose points to the image's right, pitch when it points up, roll when the head is turned
clockwise as seen in the image. 300W-LP and the code around it (3DDFA, Hopenet) count yaw in the opposite direction;
errors are the same.
"""

import numpy as np


def from_pose_para(pose_para: np.ndarray) -> np.ndarray:
    """`Pose_Para` of 300W-LP and AFLW2000 (pitch, yaw, roll in radians, shift, scale) to degrees.

    Args:
      pose_para: [7] or [1, 7].

    Returns:
      float32 [3]: yaw, pitch, roll.

    Raises:
      ValueError: not seven finite numbers.

    Source:
      Zhu et al., Face Alignment Across Large Poses: A 3D Solution, 2016: R = Rx(pitch) Ry(yaw) Rz(roll).
    """
    values = np.ravel(pose_para)
    if len(values) != 7 or not np.isfinite(values).all():
        raise ValueError(f"Pose_Para is not seven numbers but {np.shape(pose_para)}")
    pitch, yaw, roll = np.degrees(values[:3])
    return np.float32([-yaw, pitch, roll])


def from_camera_rotation(rotation: np.ndarray) -> np.ndarray:
    """Rotation of a head in a camera's frame (x to the right, y down, z away), as in BIWI, to degrees.

    The identity looks straight into the camera. The angles are those of `from_pose_para`'s factors, as in Hopenet
    (`datasets.BIWI`).

    Args:
      rotation: [3, 3].

    Returns:
      float32 [3]: yaw, pitch, roll.

    Raises:
      ValueError: not a rotation.
    """
    rotation = np.asarray(rotation, np.float64)
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2):
        raise ValueError("the 3 x 3 matrix is not a rotation")
    yaw = -np.arctan2(rotation[0, 2], np.hypot(rotation[1, 2], rotation[2, 2]))
    pitch = np.arctan2(rotation[1, 2], rotation[2, 2])
    roll = -np.arctan2(rotation[0, 1], rotation[0, 0])
    return np.degrees([yaw, pitch, roll]).astype(np.float32)


def within_protocol(pose: np.ndarray) -> bool:
    """Whether all angles are at most 99 degrees; Hopenet, and work compared with it, exclude other images."""
    return bool((np.abs(pose) <= 99).all())
