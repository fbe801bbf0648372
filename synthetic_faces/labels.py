"""Attributes of a scene."""

import numpy as np

from synthetic_faces.scenes import ACTION_UNITS

ATTRIBUTES = ("glasses", "sunglasses", "hat", "occluded", "smiling", "mouth_open", "bald", "long_hair", "curly_hair",
              "dark_hair", "blond_hair", "grey_hair", "beard", "bushy_brows", "big_nose", "full_lips", "pale_skin",
              "freckles", "makeup")  # fmt: skip


def attributes(scene: dict) -> np.ndarray:
    """Returns `ATTRIBUTES` of a scene as uint8 [19].

    Hair is an attribute of the person, even under a hat; bald means visibly bald. Smiling and an open mouth are
    attributes of the face even if something covers it (then `occluded` is 1).
    """
    units = dict(zip(ACTION_UNITS, scene["action_units"], strict=True))
    red, green, blue = scene["hair"]
    bald = scene["hair_top"] < 0
    saturation = 1 - blue / max(red, 1e-6)
    values = {
        "glasses": scene["glasses"] > 0,
        "sunglasses": scene["sunglasses"] > 0,
        "hat": scene["hat"] > 0,
        "occluded": max(scene["mask"], scene["hand"], scene["card"]) > 0,
        "smiling": units[12] >= 0.3,
        "mouth_open": units[25] >= 0.25,
        "bald": bald and not scene["hat"],
        "long_hair": scene["long_volume"] > 0,
        "curly_hair": not bald and scene["hair_curl"] > 0.25,
        "dark_hair": not bald and green < 0.06,
        "blond_hair": not bald and green > 0.2 and saturation > 0.4,
        "grey_hair": not bald and green > 0.2 and saturation < 0.2,
        "beard": scene["beard_length"] > 0,
        "bushy_brows": scene["brow_thickness"] > 0.52,
        "big_nose": scene["nose_size"] * scene["nose_width"] > 1.1,
        "full_lips": scene["upper_lip"] + scene["lower_lip"] > 1.65,
        "pale_skin": scene["skin"][1] > 0.45,
        "freckles": scene["freckles"] > 0,
        "makeup": scene["makeup"] > 0,
    }
    return np.array([values[name] for name in ATTRIBUTES], np.uint8)
