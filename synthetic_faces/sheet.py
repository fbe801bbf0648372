"""One picture that shows the data set: people, expressions, poses, labels."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synthetic_faces import scenes
from synthetic_faces.appearance import REGIONS
from synthetic_faces.drawing import draw

_CELL, _GAP, _CAPTION, _MARGIN = 116, 4, 15, 96
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


def sheet(seed: int = 0) -> Image.Image:
    """Rows of faces: people, expressions, poses, faces with their landmarks, and their regions."""
    return _laid_out(_rows(seed))


def _rows(seed: int) -> list[tuple[str, Sequence[str], list[dict]]]:
    """Title, captions ("": none) and scenes of each row."""
    styles = {scenes.identity(seed, i)["style"]: i for i in reversed(range(60))}  # hair style -> first who has it
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
    return [*rows, ("landmarks", "", labelled), ("regions", "", labelled)]


def _laid_out(rows) -> Image.Image:
    pictures = iter(_pictures(rows))
    width = _MARGIN + _COLUMNS * (_CELL + _GAP) + _GAP
    heights = [_CELL + _GAP + (_CAPTION if captions else 0) for _, captions, _ in rows]
    canvas = Image.new("RGB", (width, sum(heights) + _GAP), (250, 250, 250))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    top = _GAP
    for (title, captions, faces), height in zip(rows, heights, strict=True):
        pen.text((_MARGIN - 8, top + _CELL // 2), title, fill=(60, 60, 60), font=font, anchor="rm")
        for column in range(len(faces)):
            left = _MARGIN + column * (_CELL + _GAP)
            canvas.paste(next(pictures).resize((_CELL, _CELL), Image.Resampling.BOX), (left, top))
            if captions:
                middle = (left + _CELL // 2, top + _CELL + _CAPTION // 2)
                pen.text(middle, captions[column], fill=(60, 60, 60), font=font, anchor="mm")
        top += height
    return canvas


def _pictures(rows) -> Iterator[Image.Image]:
    """The faces of all rows, one after the other."""
    drawn = draw([face for *_, faces in rows for face in faces], 2 * _CELL)  # then reduced: smooth edges
    palette = np.array([REGION_COLOURS[name] for name in REGIONS], np.uint8)
    titles = [title for title, _, faces in rows for _ in faces]
    for k, title in enumerate(titles):
        picture = Image.fromarray(palette[drawn["regions"][k]] if title == "regions" else drawn["image"][k])
        if title == "landmarks":
            picture = _with_landmarks(picture, drawn["landmarks"][k], drawn["visibility"][k])
        yield picture
