"""Contents of a picture: identities, expressions, poses, light, background, accessories.

Everything is drawn with NumPy from `(seed, identity)` and `(seed, identity, image)`, so a person looks the
same in every image, and an image does not depend on the others. Lengths are in centimetres, in the
head's frame: x towards the subject's left (the image's right), y up, z out of the face.
"""

import functools

import numpy as np

EXPRESSIONS = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger")

ACTION_UNITS = {  # Facial Action Coding System number -> what it does
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    9: "nose wrinkler",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    25: "lips part",
    26: "jaw drop",
}

# Prototypes in the manner of EMFACS (Ekman & Friesen): action unit -> (intensity, how often it takes part).
PROTOTYPES = {
    "Neutral": {},
    "Happiness": {6: (0.8, 1.0), 12: (1.0, 1.0), 25: (0.75, 0.75), 26: (0.35, 0.3)},
    "Sadness": {1: (1.0, 1.0), 4: (0.55, 0.8), 15: (1.0, 1.0), 17: (0.6, 0.7)},
    "Surprise": {1: (1.0, 1.0), 2: (1.0, 1.0), 5: (0.8, 1.0), 25: (0.8, 1.0), 26: (1.0, 1.0)},
    "Fear": {
        1: (1.0, 1.0),
        2: (0.45, 0.9),
        4: (0.7, 1.0),
        5: (1.0, 1.0),
        20: (1.0, 1.0),
        25: (0.8, 1.0),
        26: (0.3, 0.5),
    },
    "Disgust": {4: (0.5, 0.7), 6: (0.4, 0.6), 9: (1.0, 1.0), 15: (0.6, 0.6), 17: (0.6, 0.7), 25: (0.4, 0.3)},
    "Anger": {4: (1.0, 1.0), 5: (0.45, 0.8), 9: (0.3, 0.4), 17: (0.55, 0.6), 20: (0.35, 0.35), 25: (0.5, 0.35)},
}

_HAIR_COLOURS = (  # linear RGB, weight
    ((0.012, 0.009, 0.008), 5),  # black
    ((0.035, 0.018, 0.010), 5),  # dark brown
    ((0.100, 0.048, 0.022), 4),  # brown
    ((0.200, 0.062, 0.022), 1.5),  # auburn
    ((0.360, 0.130, 0.035), 1.2),  # red
    ((0.480, 0.300, 0.120), 3),  # blond
    ((0.620, 0.450, 0.230), 1.2),  # light blond
    ((0.300, 0.293, 0.286), 1.3),  # grey
    ((0.600, 0.580, 0.550), 0.7),  # white
)
_IRIS_COLOURS = (
    ((0.060, 0.028, 0.012), 4),  # dark brown
    ((0.170, 0.080, 0.028), 3),  # brown
    ((0.220, 0.150, 0.045), 1.2),  # hazel
    ((0.120, 0.210, 0.090), 1.2),  # green
    ((0.110, 0.260, 0.420), 2),  # blue
    ((0.230, 0.300, 0.340), 1),  # grey
)
_SKIN_TONES = np.array(  # linear RGB from light to dark
    [
        (0.88, 0.60, 0.48),
        (0.80, 0.50, 0.37),
        (0.68, 0.39, 0.25),
        (0.50, 0.26, 0.15),
        (0.33, 0.155, 0.085),
        (0.19, 0.085, 0.050),
        (0.105, 0.048, 0.030),
    ]
)
_CLOTHES = (
    (0.05, 0.08, 0.16),
    (0.25, 0.05, 0.06),
    (0.06, 0.16, 0.12),
    (0.5, 0.5, 0.48),
    (0.03, 0.03, 0.035),
    (0.42, 0.2, 0.05),
    (0.1, 0.2, 0.42),
    (0.3, 0.12, 0.3),
    (0.55, 0.42, 0.28),
    (0.2, 0.3, 0.2),
)

# Hair: thickness on top and at the sides, hairline (y), half width of the free face, tilt of the hairline (a parting),
# shift of it, lowest y at the back, curl amplitude, long volume (width beyond the skull; -9: none), its lowest y,
# bun (x, y, z, radius).
_HAIR_STYLES = {
    "bald": (-9.0, -9.0, 8.0, 7.2, 0.0, 0.0, 0.0, 0.0, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "receding": (0.55, 0.55, 9.3, 7.0, 0.0, 0.0, -5.0, 0.05, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "crop": (0.6, 0.35, 6.8, 7.2, 0.0, 0.0, -4.5, 0.05, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "quiff": (2.3, 0.55, 7.2, 7.2, 0.10, 0.0, -4.5, 0.12, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "side parting": (1.7, 0.9, 6.6, 7.0, 0.42, 1.0, -4.5, 0.06, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "mop": (1.9, 1.5, 4.6, 6.7, 0.22, 0.0, -5.5, 0.22, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "curls": (2.7, 1.7, 6.0, 6.8, 0.0, 0.0, -5.0, 0.45, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "afro": (4.2, 3.4, 7.4, 7.3, 0.0, 0.0, -5.0, 0.28, -9.0, -6.0, 0.0, 0.0, 0.0, 0.0),
    "bob": (1.5, 1.4, 3.3, 6.2, 0.0, 0.0, -8.0, 0.06, 1.1, -8.5, 0.0, 0.0, 0.0, 0.0),
    "long": (1.4, 1.2, 6.6, 6.1, 0.14, 0.0, -8.0, 0.08, 0.9, -19.0, 0.0, 0.0, 0.0, 0.0),
    "long parting": (1.6, 1.2, 6.3, 6.1, 0.40, 1.2, -8.0, 0.10, 1.0, -17.0, 0.0, 0.0, 0.0, 0.0),
    "long curls": (2.2, 1.7, 6.0, 6.2, 0.1, 0.3, -8.0, 0.45, 2.2, -15.0, 0.0, 0.0, 0.0, 0.0),
    "bun": (0.9, 0.55, 7.0, 7.0, 0.0, 0.0, -4.0, 0.05, -9.0, -6.0, 0.0, 13.2, -4.5, 3.2),
    "two buns": (0.9, 0.6, 6.6, 7.0, 0.0, 0.0, -4.0, 0.05, -9.0, -6.0, 6.4, 10.2, -2.5, 2.9),
}  # fmt: skip
_SHORT = {  # how often
    "bald": 1.3,
    "receding": 1.0,
    "crop": 2.5,
    "quiff": 2.2,
    "side parting": 2.5,
    "mop": 1.2,
    "curls": 1.2,
    "afro": 0.8,
    "long": 0.5,
}
_LONG = {
    "bob": 2.2,
    "long": 2.4,
    "long parting": 2.4,
    "long curls": 2.0,
    "bun": 1.6,
    "two buns": 0.8,
    "afro": 0.8,
    "crop": 0.4,
    "side parting": 0.5,
}
HAIR_FIELDS = ("hair_top", "hair_side", "hairline", "hair_window", "hair_tilt", "hair_shift", "hair_low", "hair_curl",
               "long_volume", "long_low", "bun_x", "bun_y", "bun_z", "bun_r")  # fmt: skip


def _choice(rng, weighted):
    weights = np.array([w for _, w in weighted], float)
    return weighted[rng.choice(len(weighted), p=weights / weights.sum())][0]


def _normal(rng, scale, limit=2.0):
    """A normal number of standard deviation `scale`, clipped to `limit` deviations."""
    return float(np.clip(rng.normal(), -limit, limit) * scale)


@functools.lru_cache(maxsize=4096)
def identity(seed: int, index: int) -> dict:
    """Returns the fields of person `index`: proportions, features, skin, eyes, hair, beard, usual glasses."""
    rng = np.random.default_rng([seed, 11, index])
    feminine = float(np.clip(rng.normal(0.6 if rng.random() < 0.5 else -0.6, 0.35), -1.2, 1.2))
    n = functools.partial(_normal, rng)
    who = {
        "feminine": feminine,
        "head_width": 1.0 + n(0.045),
        "head_height": 1.0 + n(0.03),
        "face_length": n(0.45),
        "face_width": 1.0 + n(0.05) - 0.015 * feminine,
        "jaw_width": 1.0 + n(0.085) - 0.06 * feminine,
        "jaw_height": n(0.5),
        "chin_width": 1.0 + n(0.16) - 0.10 * feminine,
        "chin_length": n(0.35) - 0.18 * feminine,
        "chin_forward": n(0.35) - 0.1 * feminine,
        "cheekbone": n(0.35) + 0.10 * feminine,
        "cheek_fullness": n(0.45),
        "brow_ridge": n(0.28) - 0.30 * feminine,
        "forehead": n(0.45),
        "eye_x": 3.3 + n(0.16),
        "eye_size": 1.08 + n(0.08) + 0.06 * feminine,
        "eye_open": 1.0 + n(0.13) + 0.08 * feminine,
        "eye_tilt": n(0.12) + 0.06 * feminine,
        "eye_depth": n(0.22),
        "lid_crease": float(np.clip(0.6 + n(0.35), 0, 1)),
        "lashes": float(np.clip(0.35 + 0.35 * feminine + n(0.2), 0.1, 1.0)),
        "brow_y": 2.15 + n(0.16) + 0.16 * feminine,
        "brow_thickness": float(np.clip(0.47 + n(0.13) - 0.11 * feminine, 0.22, 0.85)),
        "brow_arch": 0.32 + n(0.15) + 0.12 * feminine,
        "brow_tilt": n(0.14) + 0.05 * feminine,
        "brow_density": float(np.clip(0.85 + n(0.15), 0.45, 1.0)),
        "nose_length": n(0.4) - 0.12 * feminine,
        "nose_width": 1.0 + n(0.16) - 0.06 * feminine,
        "nose_size": 1.0 + n(0.13) - 0.07 * feminine,
        "nose_bridge": n(0.33) - 0.08 * feminine,
        "nose_forward": n(0.4) - 0.12 * feminine,
        "nose_upturn": n(0.3) + 0.15 * feminine,
        "mouth_width": 1.0 + n(0.09),
        "mouth_y": n(0.22),
        "upper_lip": float(np.clip(0.62 + n(0.16) + 0.10 * feminine, 0.25, 1.2)),
        "lower_lip": float(np.clip(0.85 + n(0.18) + 0.10 * feminine, 0.4, 1.4)),
        "lip_bow": float(np.clip(0.5 + n(0.3), 0, 1)),
        "ear_size": 1.0 + n(0.12),
        "ear_out": n(0.3),
        "neck_width": 4.75 + n(0.25) - 0.45 * feminine,
    }
    tone = float(rng.beta(1.0, 1.25)) * (len(_SKIN_TONES) - 1)
    low = min(int(tone), len(_SKIN_TONES) - 2)
    skin = _SKIN_TONES[low] + (tone - low) * (_SKIN_TONES[low + 1] - _SKIN_TONES[low])
    who["skin"] = skin * np.exp([n(0.05), n(0.04), n(0.09)])
    who["blush"] = float(np.clip(0.35 + n(0.2) + 0.1 * feminine, 0, 1))
    who["freckles"] = float(rng.random() < 0.18) * rng.uniform(0.4, 1.0) * float(tone < 2.5)
    who["makeup"] = float(feminine > 0.2 and rng.random() < 0.35) * rng.uniform(0.4, 1.0)
    lip_tint = np.array([(0.62, 0.10, 0.12), (0.50, 0.06, 0.12), (0.62, 0.20, 0.16)])[rng.integers(3)]
    who["lips"] = (1 - 0.7 * who["makeup"]) * skin * (0.78, 0.47, 0.50) + 0.7 * who["makeup"] * lip_tint

    dark_only = 0.9 if tone > 3.2 else (0.45 if tone > 2 else 0.0)
    grey = rng.random() < 0.1
    pick = _HAIR_COLOURS[:3] if rng.random() < dark_only else _HAIR_COLOURS
    hair = np.array(_choice(rng, _HAIR_COLOURS[-2:] if grey else pick))
    who["hair"] = hair * np.exp(n(0.2))
    who["brow"] = np.minimum(who["hair"], skin * 0.75) * 0.55
    who["iris"] = np.array(_choice(rng, _IRIS_COLOURS[:2] if tone > 3 else _IRIS_COLOURS)) * np.exp(n(0.2))
    style = _choice(rng, tuple((_LONG if feminine > 0 else _SHORT).items()))
    who["style"] = style
    fields = dict(zip(HAIR_FIELDS, _HAIR_STYLES[style], strict=True))
    if style != "bald":
        fields["hair_top"] *= float(np.exp(n(0.15)))
        fields["hair_side"] *= float(np.exp(n(0.12)))
        fields["hairline"] += n(0.35)
        fields["hair_curl"] *= float(np.exp(n(0.3)))
        side = rng.choice([-1.0, 1.0])
        fields["hair_tilt"] *= side
        fields["hair_shift"] *= side
        fields["long_low"] += n(2.0) if fields["long_volume"] > 0 else 0.0
    who.update(fields)
    beard = rng.choice(5, p=[0.45, 0.2, 0.12, 0.13, 0.10]) if feminine < -0.1 else 0
    # none, stubble, moustache, goatee with moustache, full beard
    who["stubble"] = (0.0, rng.uniform(0.25, 0.5), 0.15, 0.2, 0.0)[beard]
    who["moustache"] = float(beard >= 2)
    who["goatee"] = float(beard >= 3)
    who["full_beard"] = float(beard == 4)
    who["beard_length"] = (0.0, 0.0, 0.0, rng.uniform(0.1, 0.5), rng.uniform(0.3, 1.3))[beard]
    who["wears_glasses"] = float(rng.random() < 0.2)
    return who


def expression(rng, label: int) -> np.ndarray:
    """Draws intensities in 0..1 of the action units (in the order of `ACTION_UNITS`) of one of `EXPRESSIONS`."""
    prototype = PROTOTYPES[EXPRESSIONS[label]]
    strength = rng.uniform(0.75, 1.0)
    units = []
    for number in ACTION_UNITS:
        value = max(0.0, rng.normal(0.0, 0.05))
        mean, often = prototype.get(number, (0.0, 0.0))
        if rng.random() < often:
            value = mean * strength * rng.uniform(0.85, 1.12)
        units.append(value)
    if units[-2] < 0.25:  # without parted lips a dropped jaw would be invisible
        units[-1] = min(units[-1], 0.1)
    return np.clip(units, 0.0, 1.0).astype(np.float32)


def _background(rng):
    def colour():
        hue, grey = rng.random(3), rng.uniform(0.15, 0.95)
        return (grey + rng.uniform(0.1, 0.5) * (hue - 0.5)).clip(0.02, 1) ** 2.2

    angle = rng.uniform(0, 2 * np.pi)
    blobs = [rng.uniform(-1, 1, 5), rng.uniform(-1, 1, 5), rng.uniform(0.1, 0.45, 5), rng.uniform(0, 0.6, 5)]
    blobs[3] *= rng.random() < 0.55
    return {
        "back_a": colour(),
        "back_b": colour(),
        "back_c": colour(),
        "back_direction": np.array([np.cos(angle), np.sin(angle)]),
        "back_blobs": np.stack(blobs),  # x, y, radius, strength
        "back_stripes": float(rng.random() < 0.25) * rng.uniform(0.1, 0.35),
        "back_frequency": rng.uniform(1.0, 4.0),
    }


def _light(rng):
    azimuth, elevation = np.radians(np.clip(rng.normal(0, 38), -75, 75)), np.radians(rng.uniform(5, 60))
    direction = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    warmth = rng.normal(0, 0.10)
    exposure = np.exp(np.clip(rng.normal(0, 0.13), -0.3, 0.3))
    fill = rng.uniform(0.35, 0.8)
    return {
        "key_direction": np.array(direction),
        "key": exposure * rng.uniform(0.75, 1.0) * np.array([1 + warmth, 1.0, 1 - warmth]),
        "fill": exposure * fill * np.array([0.92 - warmth, 1.0, 1.08 + warmth]),
        "rim": float(rng.random() < 0.5) * rng.uniform(0.2, 0.9),
        "rim_side": rng.choice([-1.0, 1.0]),
    }


def scene(seed: int, person: int, image: int, *, label: int | None = None) -> dict:
    """Returns all fields of image number `image` of identity `person`.

    Args:
      seed: of the whole data set.
      person: identity index.
      image: number of the image of that person.
      label: index into `EXPRESSIONS`; by default drawn uniformly.
    """
    rng = np.random.default_rng([seed, 13, person, image])
    who = identity(seed, person)
    drawn = int(rng.integers(len(EXPRESSIONS)))
    label = drawn if label is None else label
    pose = np.array([np.clip(rng.normal(0, 25), -60, 60), np.clip(rng.normal(0, 10), -25, 25),
                     np.clip(rng.normal(0, 8), -20, 20)])  # fmt: skip
    fields = {k: v for k, v in who.items() if k not in ("style", "wears_glasses", "feminine")}
    fields |= {
        "identity": person,
        "expression": label,
        "action_units": expression(rng, label),
        "pose": pose,
        "gaze": np.array([_normal(rng, 0.22), _normal(rng, 0.12)]),
        "extent": rng.uniform(19.5, 24.5),  # centimetres seen at the head's distance
        "distance": float(np.exp(rng.uniform(np.log(55), np.log(160)))),
        "offset": np.array([_normal(rng, 0.6), _normal(rng, 0.6)]),  # of the face from the image's middle
        "texture": rng.uniform(0, 100, 2),
    }
    fields |= _background(rng) | _light(rng)

    cloth = np.array(_CLOTHES[rng.integers(len(_CLOTHES))])
    fields["cloth"], fields["cloth_b"] = cloth, cloth * rng.uniform(0.4, 1.6) + rng.uniform(0, 0.15)
    fields["cloth_stripes"] = float(rng.random() < 0.3)

    glasses = rng.random() < (0.75 if who["wears_glasses"] else 0.08)
    fields["glasses"] = float(glasses)
    fields["sunglasses"] = float(glasses and rng.random() < 0.15)
    fields["lens"] = np.array(
        [rng.uniform(2.35, 2.75), rng.uniform(1.65, 2.25), rng.uniform(0.25, 1.0)]
    )  # half extents, roundness
    fields["frame"] = np.array([(0.01, 0.01, 0.012), (0.12, 0.04, 0.015), (0.4, 0.3, 0.12), (0.35, 0.02, 0.03),
                                (0.03, 0.08, 0.25), (0.5, 0.5, 0.52)][rng.integers(6)])  # fmt: skip
    fields["frame_width"] = rng.uniform(0.13, 0.34)

    hat = float(rng.random() < 0.10)
    fields["hat"] = hat
    fields["brim"] = hat * float(rng.random() < 0.5)
    if hat:  # presses the hair flat
        fields |= {"hair_top": min(fields["hair_top"], 1.3), "hair_side": min(fields["hair_side"], 1.5), "bun_r": 0.0}
    fields["hat_y"] = rng.uniform(4.6, 6.2)
    fields["hat_colour"] = np.array(_CLOTHES[rng.integers(len(_CLOTHES))])
    fields["hat_b"] = np.array(_CLOTHES[rng.integers(len(_CLOTHES))])

    occluder = int(rng.choice(4, p=[0.90, 0.035, 0.035, 0.03]))  # none, medical mask, hand, card
    fields["mask"], fields["hand"], fields["card"] = (float(occluder == k) for k in (1, 2, 3))
    fields["mask_colour"] = np.array(
        [(0.35, 0.62, 0.75), (0.75, 0.78, 0.8), (0.03, 0.03, 0.035), (0.6, 0.3, 0.38)][rng.integers(4)]
    )
    fields["card_colour"] = np.array(_background(rng)["back_a"])
    side = rng.choice([-1.0, 1.0])
    fields["occluder_place"] = np.array(
        [side * rng.uniform(1.5, 6.5), rng.uniform(-9.0, -2.0), side * rng.uniform(0.2, 1.1)]
    )  # x, y, angle
    return fields


def stack(scenes: list[dict]) -> dict:
    """Stacks scenes into one dict of float32 arrays with a leading axis, for the renderer."""
    return {k: np.stack([np.asarray(s[k], np.float32) for s in scenes]) for k in scenes[0]}
