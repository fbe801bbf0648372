"""What the workdir of a run holds, as far as it can be read: a run that has not ended has a report too."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
from etils import epath

from facejax import encoder_folder, workdir_encoder
from facejax.data import images
from facejax.encoder import Encoder, load
from facejax.errors import UserError
from facejax.evaluation import metrics_file
from facejax.progress import phase
from facejax.reports import scalars
from facejax.reports.scalars import Curve

WIDEST = 1600  # pixels of a picture on the page
QUALITY = 82  # of WebP: the sheets of a run are PNG, ten times as large
Metrics = Mapping[str, float]


@dataclasses.dataclass
class Run:
    """A run, as its workdir tells it.

    Attributes:
      folder: its workdir.
      name: on the page.
      config: what config.json holds.
      versions: what versions.json holds.
      parameters: the table of parameters, plain text.
      evaluations: step -> metrics.
      ended: whether there are results.
      curves: what was logged, by tag.
      pictures: name -> step -> WebP.
      encoder: the trained one, if there is one.
      missing: a line for each thing that the page cannot show.
    """

    folder: epath.Path
    name: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameters: str = ""
    evaluations: dict[int, Metrics] = dataclasses.field(default_factory=dict)
    ended: bool = False
    curves: dict[str, Curve] = dataclasses.field(default_factory=dict)
    pictures: dict[str, dict[int, bytes]] = dataclasses.field(default_factory=dict)
    encoder: Encoder | None = None
    missing: list[str] = dataclasses.field(default_factory=list)

    @property
    def method(self) -> str:
        """The method's name."""
        return self.config.get("method", "unknown method")

    @property
    def steps(self) -> int:
        """Up to which step there is something to see."""
        logged = [int(curve.steps[-1]) for curve in self.curves.values()]
        return max([*logged, *self.evaluations], default=0)

    @property
    def untrained(self) -> Metrics:
        """Metrics before the first step."""
        return self.evaluations.get(0, {})

    @property
    def trained(self) -> Metrics:
        """Metrics after the last step that was evaluated."""
        last = max(self.evaluations, default=0)
        return self.evaluations[last] if last else {}


def read(folder: epath.Path) -> Run:
    """All that a workdir holds.

    Raises:
      UserError: it is no workdir.
    """
    if not folder.exists():
        raise UserError(f"there is no {folder}: name the workdir of a run")
    if not (folder / "config.json").exists():
        raise UserError(f"{folder} is not the workdir of a run: it has no config.json")
    run = Run(folder, name=folder.name)
    with phase(f"Reading {folder}"):
        run.config, run.versions = _group(run, "config.json"), _group(run, "versions.json")
        if run.config and not isinstance(run.config.get("method"), str):
            raise UserError(f"{folder} is not the workdir of a run: its config.json names no method")
        if (folder / "parameters.txt").exists():
            run.parameters = (folder / "parameters.txt").read_bytes().decode(errors="replace")
        _read_metrics(run)
        run.curves = scalars.read(folder / "tensorboard")
        if not run.curves:
            run.missing.append("tensorboard/ has no numbers: no curves")
        _read_pictures(run)
    _read_encoder(run)
    return run


def tell_apart(runs: Sequence[Run]) -> None:
    """Gives runs whose folders have the same name longer names: the ends of their paths that differ."""
    for parts in range(1, max((len(run.folder.parts) for run in runs), default=0) + 1):
        for run in runs:
            run.name = "/".join(run.folder.parts[-parts:])
        if len({run.name for run in runs}) == len({run.folder for run in runs}):
            return


def _group(run: Run, name: str) -> dict[str, Any]:
    """What a JSON file holds; nothing, and a line in `run.missing`, where it cannot be read."""
    try:
        content = json.loads((run.folder / name).read_bytes())
        if isinstance(content, dict):
            return content
        reason = "is no group of keys"
    except FileNotFoundError:
        reason = "is missing"
    except (OSError, ValueError, RecursionError):
        reason = "is damaged"
    run.missing.append(f"{name} {reason}")
    return {}


def _read_metrics(run: Run) -> None:
    for file in sorted((run.folder / "evaluations").glob("step_*.json")):
        if step := re.fullmatch(r"step_(\d+)\.json", file.name):
            metrics = metrics_file.read(file)
            if metrics is None:
                run.missing.append(f"evaluations/{file.name} is damaged")
            else:
                run.evaluations[int(step[1])] = metrics
    if not (run.folder / "results.json").exists():
        run.missing.append("there is no results.json: the run has not ended")
        return
    results = _group(run, "results.json")
    ends = [results.get("untrained"), results.get("trained")]
    if not all(map(metrics_file.are_metrics, ends)) or not isinstance(results.get("steps"), int):
        run.missing.append("results.json is damaged or not of a run")
        return
    run.evaluations |= {0: ends[0], results["steps"]: ends[1]}
    run.ended = True


def _read_pictures(run: Run) -> None:
    """The first and the last of the pictures of each name."""
    found: dict[str, dict[int, epath.Path]] = {}
    for file in sorted((run.folder / "pictures").glob("step_*.png")):
        if match := re.fullmatch(r"step_(\d+)_(.+)\.png", file.name):
            found.setdefault(match[2], {})[int(match[1])] = file
    if not found:
        run.missing.append("pictures/ has no pictures")
    for name, steps in found.items():
        for step in sorted({min(steps), max(steps)}):
            try:
                picture = _webp(images.decode(steps[step].read_bytes()))
            except (OSError, ValueError) as error:
                run.missing.append(f"pictures/{steps[step].name}: {error}")
            else:
                run.pictures.setdefault(name, {})[step] = picture


def _webp(image) -> bytes:
    height, width = image.shape[:2]
    if max(height, width) > WIDEST:
        scale = WIDEST / max(height, width)
        size = max(1, round(scale * width)), max(1, round(scale * height))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".webp", image[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return encoded.tobytes()


def _read_encoder(run: Run) -> None:
    ready = run.folder / workdir_encoder.FOLDER
    try:
        run.encoder = load(ready if run.ended and encoder_folder.exists(ready) else run.folder)
    except UserError as error:
        run.missing.append(f"no encoder, and with it no neighbours and no map: {error}")
