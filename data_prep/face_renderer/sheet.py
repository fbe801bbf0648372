"""One picture of what is in the data set: people, expressions, poses, labels."""

import io
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep import synthetic_faces
from data_prep.face_renderer import scenes
from data_prep.face_renderer.appearance import REGIONS
from facejax import paths
from facejax.errors import UserError
from facejax.files import write_atomically

_CELL, _GAP, _CAPTION = 116, 4, 15
_COLUMNS = 7
_PLAIN = dict(hat=0.0, brim=0.0, glasses=0.0, mask=0.0, hand=0.0, card=0.0, offset=np.zeros(2), extent=23.5)
REGION_COLOURS = dict(
    background=(38, 42, 52), skin=(236, 188, 160), brows=(122, 74, 40), eyes=(66, 150, 220), nose=(224, 140, 110),
    mouth=(204, 62, 82), hair=(92, 62, 120), beard=(130, 96, 150), ears=(250, 214, 120), neck=(200, 160, 130),
    clothes=(70, 120, 110), hat=(240, 140, 50), glasses=(40, 210, 200), occluder=(150, 150, 150),
)  # fmt: skip


def _posed(seed: int, person: int, *, image: int = 0, label: int = 0, strength: float = 0.9, **fields) -> dict:
    """A scene of a person under soft light, with an expression at its full strength."""
    scene = scenes.scene(seed, person, image, label=label)
    units = np.zeros(len(scenes.ACTION_UNITS), np.float32)
    for i, number in enumerate(scenes.ACTION_UNITS):
        mean, often = scenes.PROTOTYPES[scenes.EXPRESSIONS[label]].get(number, (0.0, 0.0))
        units[i] = mean * strength if often > 0.65 else 0.0
    light = dict(key_direction=np.array([-0.45, 0.5, 0.74]), key=np.full(3, 0.95), fill=np.full(3, 0.68), rim=0.5)
    return scene | _PLAIN | light | dict(action_units=units, pose=np.zeros(3), gaze=np.zeros(2)) | fields


def _with_landmarks(image: Image.Image, landmarks: np.ndarray, visibility: np.ndarray) -> Image.Image:
    draw = ImageDraw.Draw(image)
    for (x, y), seen in zip(landmarks, visibility, strict=True):
        draw.ellipse([x - 2.5, y - 2.5, x + 2.5, y + 2.5], fill=(90, 255, 120) if seen else (255, 70, 70))
    return image


def write(path: str | os.PathLike, *, seed: int = 0) -> None:
    """Draws the sheet and writes it to `path` (PNG or JPEG).

    Raises:
      UserError: `path` has another ending, or its folder does not exist.
    """
    path = paths.resolve(path, "--sheet")
    in_a_folder = paths.is_url(path) or path.parent.is_dir()
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg") or not in_a_folder:
        raise UserError(f"--sheet={path}: must be a .png or .jpg file in a folder that exists")
    styles = {
        scenes.identity(seed, i)["style"]: i for i in reversed(range(60))
    }  # hair style -> first person who has it
    plain = [i for i in range(60) if i not in styles.values()]
    people = [*styles.values(), *plain][: 2 * _COLUMNS]
    faces = [scenes.scene(seed, i, 1) | dict(mask=0.0, hand=0.0, card=0.0) for i in people]
    rows = [("people", "", faces[::2]), ("", "", faces[1::2])]
    for title, style in (("expressions", "long parting"), ("", "side parting")):
        faces = [_posed(seed, styles.get(style, 0), label=label) for label in range(_COLUMNS)]
        rows.append((title, scenes.EXPRESSIONS, faces))
    yaws = np.linspace(-60, 60, _COLUMNS)
    turns = [np.array([yaw, pitch, -0.12 * yaw]) for yaw, pitch in zip(yaws, (8, -6, 14, 0, -14, 6, -8), strict=True)]
    poses = [f"{yaw:+.0f}, {pitch:+.0f}, {roll + 0:+.0f}" for yaw, pitch, roll in turns]
    rows.append(("yaw, pitch, roll", poses, [_posed(seed, styles.get("bob", 0), pose=turn) for turn in turns]))
    labelled = [scenes.scene(seed, i, 2) for i in plain[:_COLUMNS]]
    rows.append(("landmarks", "", labelled))
    rows.append(("regions", "", labelled))

    size = 2 * _CELL  # drawn at twice the size, then reduced: smooth edges
    drawn = synthetic_faces.draw([face for *_, faces in rows for face in faces], size)
    margin = 96
    width = margin + _COLUMNS * (_CELL + _GAP) + _GAP
    heights = [_CELL + _GAP + (_CAPTION if captions else 0) for _, captions, _ in rows]
    canvas = Image.new("RGB", (width, sum(heights) + _GAP), (250, 250, 250))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    palette = np.array([REGION_COLOURS[name] for name in REGIONS], np.uint8)
    top, k = _GAP, 0
    for (title, captions, faces), height in zip(rows, heights, strict=True):
        pen.text((margin - 8, top + _CELL // 2), title, fill=(60, 60, 60), font=font, anchor="rm")
        for column in range(len(faces)):
            picture = Image.fromarray(drawn["image"][k])
            if title == "landmarks":
                picture = _with_landmarks(picture, drawn["landmarks"][k], drawn["visibility"][k])
            if title == "regions":
                picture = Image.fromarray(palette[drawn["regions"][k]])
            left = margin + column * (_CELL + _GAP)
            canvas.paste(picture.resize((_CELL, _CELL), Image.Resampling.BOX), (left, top))
            if captions:
                at = (left + _CELL // 2, top + _CELL + _CAPTION // 2)
                pen.text(at, captions[column], fill=(60, 60, 60), font=font, anchor="mm")
            k += 1
        top += height
    if path.suffix.lower() == ".png":  # 64 steps a channel: two thirds of the bytes, no difference to the eye
        canvas = Image.fromarray(np.asarray(canvas) // 4 * 4 + 2)
    encoded = io.BytesIO()
    canvas.save(encoded, Image.registered_extensions()[path.suffix.lower()], optimize=True)
    write_atomically(path, encoded.getvalue())
