"""Shows a data set: a page of samples with their labels, landmarks and boxes, and the number of records of each class.

python -m data_prep.browse DIR [--out=FILE.html|FILE.png] [--split=NAME] [--samples=48] [--seed=0]
"""

import argparse
import base64
import html
import logging
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from facejax import paths, pictures
from facejax.data import images, records
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError, report_user_errors
from facejax.files import write_atomically

CELL = 192  # pixels of a sample on the page
COUNTED = 50_000  # number of records of a split that are read to count classes

_DOT, _BOX, _HIDDEN = (90, 255, 120), (255, 210, 0), (255, 70, 70)
NO_CLASS = "no class"  # name under which invalid labels are counted

_SHOWN_NUMBERS = 8
_COLUMNS = 8
_SHOWN_CLASSES = 100
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 16px }
figure { margin: 0 } figure img { display: block; max-width: 100% }
figcaption { font-size: 12px; overflow-wrap: anywhere; color: #444 }
table { border-collapse: collapse } td { padding: 1px 10px 1px 0; vertical-align: middle }
.bar { background: #0072b2; height: 10px }
.classes { columns: 22em auto; margin-bottom: 2em }
"""


def draw(record: Mapping[str, Any], features: Mapping[str, Any]) -> np.ndarray:
    """The image of a record, enlarged to `CELL` pixels, with its landmarks and boxes: uint8 [H, W, 3].

    Fields of floats [..., 2] with at least two rows are points, those [..., 4] with "box" in their names are x1, y1,
    x2, y2, both in pixels; `BBox` fields are fractions of the image. Points that a field `visibility` marks as hidden
    are red.
    """
    image = images.decode(record["image"])
    scale = CELL / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for name, feature in features.items():
        points, seen = _points(feature, record[name]), np.asarray(record.get("visibility", ()))
        for i, (x, y) in enumerate(points):
            color = _DOT if seen.shape != (len(points),) or seen[i] else _HIDDEN
            if np.isfinite((x, y)).all():
                cv2.circle(canvas, _pixel(x * scale, y * scale), 2, color, -1, cv2.LINE_AA)
        for x1, y1, x2, y2 in _boxes(name, feature, record[name], image.shape):
            if np.isfinite((x1, y1, x2, y2)).all():
                cv2.rectangle(canvas, _pixel(x1 * scale, y1 * scale), _pixel(x2 * scale, y2 * scale), _BOX, 2)
    return canvas


def _pixel(x: float, y: float) -> tuple[int, int]:
    return round(float(np.clip(x, -9999, 9999))), round(float(np.clip(y, -9999, 9999)))


def _points(feature: Any, value: Any) -> np.ndarray:
    """The points [N, 2] that a field holds, if any."""
    is_floats = isinstance(feature, tfds.features.Tensor) and np.issubdtype(feature.np_dtype, np.floating)
    if is_floats and len(feature.shape) >= 2 and feature.shape[-1] == 2:
        return np.asarray(value).reshape(-1, 2)
    return np.empty((0, 2))


def _boxes(name: str, feature: Any, value: Any, shape: Sequence[int]) -> list:
    if isinstance(feature, tfds.features.BBoxFeature) or isinstance(
        getattr(feature, "feature", None), tfds.features.BBoxFeature
    ):
        top, left, bottom, right = np.asarray(value).reshape(-1, 4).T
        return (np.stack([left, top, right, bottom], 1) * np.array([shape[1], shape[0]] * 2)).tolist()
    if "box" in name and isinstance(feature, tfds.features.Tensor) and feature.shape[-1:] == (4,):
        return np.asarray(value).reshape(-1, 4).tolist()
    return []


def describe(record: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a record as short texts, without images and the fields that `draw` shows."""
    texts = {}
    for name, feature in features.items():
        value = record[name]
        if isinstance(feature, tfds.features.Image) or name == "visibility" or len(_points(feature, value)):
            continue
        if isinstance(feature, tfds.features.ClassLabel):
            texts[name] = feature.int2str(int(value)) if 0 <= value < feature.num_classes else str(value)
        elif isinstance(value, str):
            texts[name] = value
        elif np.size(value) > 1:
            values = np.asarray(value).reshape(-1)
            more = ", ..." if values.size > _SHOWN_NUMBERS else ""
            texts[name] = ", ".join(f"{v:.3g}" for v in values[:_SHOWN_NUMBERS]) + more
        else:
            texts[name] = f"{np.asarray(value).reshape(-1)[0]:.6g}" if np.size(value) else "none"
    return texts


def class_counts(source: records.RecordSource, seed: int) -> tuple[dict[str, dict[str, int]], int]:
    """The number of records of each class of every ClassLabel field, and of records read, at most `COUNTED`."""
    labels = {n: f for n, f in source.features.items() if isinstance(f, tfds.features.ClassLabel)}
    if not labels:
        return {}, 0
    numbers = {name: np.zeros(feature.num_classes + 1, int) for name, feature in labels.items()}  # the last: no class
    indices, read = _choose(len(source), COUNTED, seed), 0
    for i in tqdm(indices, desc="counting classes", unit=" records", delay=2):
        try:
            record = source[int(i)]
        except CorruptRecord:
            continue
        read += 1
        for name, feature in labels.items():
            numbers[name][record[name] if 0 <= record[name] < feature.num_classes else -1] += 1
    counts = {n: dict(zip(labels[n].names, numbers[n].tolist(), strict=False)) for n in labels}
    return {n: c | ({NO_CLASS: int(numbers[n][-1])} if numbers[n][-1] else {}) for n, c in counts.items()}, read


def _choose(length: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(length, min(count, length), replace=False))


def _samples(source: records.RecordSource, samples: int, seed: int) -> tuple[list[tuple[dict, list]], list[str]]:
    """Random records with their pictures, and errors of those that cannot be shown."""
    shown, damaged = [], []
    for i in _choose(len(source), samples, seed).tolist():
        try:
            record = source[i]
            shown.append((record, [draw(record, source.features), *_other_images(record, source.features)]))
        except CorruptRecord as error:
            damaged.append(str(error))
        except ValueError as error:
            damaged.append(f"{source.where(i)}: {error}")
    for reason in damaged:
        logging.warning("left out: %s", reason)
    return shown, damaged


def browse(folder, out: epath.Path, *, split: str = "", samples: int = 48, seed: int = 0) -> None:
    """Writes a page (.html) or a picture (.png) of a data set.

    Args:
      folder: the records.
      out: file to write; must not exist.
      split: its name; "": all, in order.
      samples: of each split, drawn at random.
      seed: of the draw.

    Raises:
      UserError: no records there, `out` exists or has another suffix, no such split.
    """
    if out.suffix not in (".html", ".png"):
        raise UserError(f"--out={out}: the name must end in .html or .png")
    if out.exists():
        raise UserError(f"--out={out} exists already; remove it or choose another name")
    if samples < 1:
        raise UserError(f"--samples={samples}: must be at least 1")
    counts = records.num_records(folder)
    sources = {
        name: records.open_split(folder, name, skip_corrupt=True) for name in ([split] if split else sorted(counts))
    }
    if any("image" not in source.features for source in sources.values()):
        raise UserError(f"{folder} has no field 'image'")
    if out.suffix == ".html":
        write_atomically(out, _page(epath.Path(folder).name, sources, samples, seed))
    else:
        pictures.write_png(out, _sheet(sources, samples, seed))


def _sheet(sources: Mapping[str, records.RecordSource], samples: int, seed: int) -> np.ndarray:
    columns = min(_COLUMNS, samples)
    rows, captions, lines = [], [], []
    for split, source in sources.items():
        lines.append(f"{split}: {len(source)} records")
        for field, numbers in class_counts(source, seed)[0].items():
            shown = [f"{name} {n}" for name, n in list(numbers.items())[:_SHOWN_CLASSES]]
            lines += textwrap.wrap(f"{field}: {', '.join(shown)}", columns * CELL // 8, initial_indent="    ")
        shown, _ = _samples(source, samples, seed)
        for start in range(0, len(shown), columns):
            row = shown[start : start + columns]
            rows.append([drawn[0] for _, drawn in row])
            captions.append([_caption(split, record, source.features) for record, _ in row])
    if not rows:
        raise UserError(f"{', '.join(map(str, sources.values()))}: none of the drawn records can be shown")
    sheet = pictures.sheet(rows, captions=captions)
    header = Image.new("RGB", (sheet.shape[1], 20 * len(lines) + 8), "white")
    font = ImageFont.load_default(14)
    for i, line in enumerate(lines):
        ImageDraw.Draw(header).text((6, 20 * i + 6), line, fill=(40, 40, 40), font=font)
    return np.concatenate([np.asarray(header), sheet])


def _caption(split: str, record: Mapping[str, Any], features: Mapping[str, Any]) -> str:
    """The most informative labels for one line: classes, then other short labels, without the file's name."""
    texts = describe(record, features)
    names = sorted(texts, key=lambda name: not isinstance(features[name], tfds.features.ClassLabel))
    shown = [texts[name] for name in names if name != "file" and len(texts[name]) < 24]
    return f"{split}: " + "; ".join(shown) if shown else split


def _page(title: str, sources: Mapping[str, records.RecordSource], samples: int, seed: int) -> str:
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>")
    for split, source in sources.items():
        parts.append(f"<h2>{html.escape(split)}: {len(source)} records</h2>")
        counts, read = class_counts(source, seed)
        for field, numbers in counts.items():
            part = f", of {read} records drawn at random" if read < len(source) else ""
            parts.append(
                f"<h3>{html.escape(field)}: {len(numbers.keys() - {NO_CLASS})} classes{part}</h3>{_bars(numbers)}"
            )
        shown, damaged = _samples(source, samples, seed)
        parts += [f"<p>skipped: {html.escape(reason)}</p>" for reason in damaged]
        parts.append("<div class=samples>")
        for record, drawn in shown:
            texts = "<br>".join(
                f"{html.escape(n)}: {html.escape(t)}" for n, t in describe(record, source.features).items()
            )
            tags = "".join(f'<img src="data:image/png;base64,{_png(image)}">' for image in drawn)
            parts.append(f"<figure>{tags}<figcaption>{texts}</figcaption></figure>")
        parts.append("</div>")
    return "\n".join(parts)


def _bars(numbers: Mapping[str, int]) -> str:
    most = max([*numbers.values(), 1])
    rows = [
        f"<tr><td>{html.escape(name)}<td>{n}<td><div class=bar style='width:{120 * n / most:.0f}px'></div>"
        for name, n in list(numbers.items())[:_SHOWN_CLASSES]
    ]
    more = f"<p>and {len(numbers) - _SHOWN_CLASSES} more" if len(numbers) > _SHOWN_CLASSES else ""
    return f"<div class=classes><table>{''.join(rows)}</table>{more}</div>"


def _other_images(record: Mapping[str, Any], features: Mapping[str, Any]) -> list[np.ndarray]:
    """Masks, with a colour for every number."""
    found = []
    for name, feature in features.items():
        if name != "image" and isinstance(feature, tfds.features.Image):
            data = np.frombuffer(record[name], np.uint8)
            mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
            if mask is None:
                raise ValueError(f"the field '{name}' is no image")
            if mask.ndim == 2:
                mask = pictures.region_colors(int(mask.max()) + 1).astype(np.uint8)[mask]
                mask = cv2.resize(mask, None, fx=96 / len(mask), fy=96 / len(mask), interpolation=cv2.INTER_NEAREST)
            else:
                mask = mask[:, :, 2::-1]
            found.append(mask)
    return found


def _png(image: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()).decode()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exit status 2 for a user's error."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.browse", description="A page that shows records.")
    parser.add_argument("folder", help="folder of a data set")
    parser.add_argument("--out", help="FILE.html or FILE.png; default: the folder's name with .html, here")
    parser.add_argument("--split", default="", help="default: all of them")
    parser.add_argument("--samples", type=int, default=48, help="of each split")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    args = parser.parse_args(argv)
    with report_user_errors("browse"):
        folder = paths.resolve(args.folder)
        out = paths.resolve(args.out or f"{folder.name}.html", "--out")
        browse(folder, out, split=args.split, samples=args.samples, seed=args.seed)
    print(out)


if __name__ == "__main__":
    main()
