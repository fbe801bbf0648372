"""The card that goes with exported weights: a `README.md` as Hugging Face reads it, with a header of YAML."""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from facejax.encoder import Encoder

TASK = "image-feature-extraction"
NAMES = {  # methods, and what the literature calls them
    "byol": "BYOL (arXiv:2006.07733)",
    "fra": "FRA, facial region awareness (arXiv:2403.02138)",
    "lafs": "LAFS, landmark-based facial self-supervised learning (arXiv:2403.08161)",
    "lewel": "LEWEL (arXiv:2203.06965)",
    "pcl": "PCL, pose-disentangled contrastive learning (arXiv:2211.13490)",
    "simclr": "SimCLR (arXiv:2002.05709)",
    "supervised": "recognition with labels",
}
USES = """It turns a face into numbers, for research on face representations: nearest neighbours, probes, fine-tuning on
expressions, attributes, pose. Faces should fill most of the image, as in training.

It should not decide about people: who somebody is, what they feel, whether they may pass. How accuracy differs between
groups of people was not measured. It carries the biases of the images it has seen. Features can identify people: treat
them as personal data."""


def write(encoder: Encoder, weights_license: str, usages: Iterable[str]) -> str:
    """The text of a model card.

    Args:
      encoder: what it is about.
      weights_license: identifier of the licence of the weights, such as `cc-by-nc-4.0`.
      usages: how to use each of the files, Markdown.
    """
    card = encoder.card
    method = str(card.get("method", "unknown"))
    title = f"{NAMES.get(method, method)}: {_network(encoder)}"
    sections = {
        "Use": "\n\n".join(usages),
        "Features": _features(encoder),
        "Data": _data(card),
        "Evaluation": _evaluation(card),
        "Intended use and limits": USES,
        "Licence of the weights": f"`{weights_license}`.",
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    header = _header(card, method, weights_license)
    return f"---\n{header}---\n\n# {title}\n\nExported by facejax.\n\n{body}\n"


def _network(encoder: Encoder) -> str:
    architecture = encoder.architecture
    return str(getattr(architecture, "backbone", None) or type(architecture).__name__)


def _header(card: Mapping[str, Any], method: str, weights_license: str) -> str:
    """YAML, of which JSON is a part."""
    tags = ["face-representation", "self-supervised-learning", "jax", method]
    entries: dict[str, Any] = {
        "license": weights_license,
        "library_name": "facejax",
        "pipeline_tag": TASK,
        "tags": tags if method != "supervised" else [tag for tag in tags if tag != "self-supervised-learning"],
    }
    if results := _results(card):
        entries["model-index"] = [{"name": method, "results": results}]
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in entries.items())


def _results(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for name, value in _metrics(card, "metrics").items():
        evaluation = name.split("/")[0]
        data = _data_of(card, evaluation)
        result = {
            "task": {"type": TASK, "name": evaluation},
            "dataset": {"type": re.sub(r"[^\w-]+", "-", data), "name": data},
            "metrics": [],
        }
        results.setdefault(evaluation, result)["metrics"].append({"type": name, "value": value})
    return list(results.values())


def _data_of(card: Mapping[str, Any], evaluation: str) -> str:
    evaluations = card.get("training", {}).get("evaluations", {})
    return base_name(evaluations.get(evaluation, {}).get("data", evaluation))


def _metrics(card: Mapping[str, Any], name: str) -> Mapping[str, float]:
    found = card.get(name)
    return found if isinstance(found, Mapping) else {}


def _features(encoder: Encoder) -> str:
    preprocessing = encoder.preprocessing
    rows = [(f"`{kind}`", str(length)) for kind, length in encoder.dimensions.items()]
    size, order = preprocessing.size, preprocessing.channel_order.upper()
    fit = {"squash": "resized to a square", "crop": "its centre cut out"}[preprocessing.fit]
    return (
        f"{_table(('kind', 'length'), rows)}\n\nThe first is meant where none is named. An image is {fit} of {size} px "
        f"({preprocessing.interpolation}); the network takes {order} from {preprocessing.value_range[0]:g} to "
        f"{preprocessing.value_range[1]:g}, less {list(preprocessing.mean)}, divided by {list(preprocessing.std)}."
    )


def _data(card: Mapping[str, Any]) -> str:
    if not isinstance(card.get("data"), Mapping):
        return "Not recorded."
    name, split = base_name(card["data"].get("folder", "?")), card["data"].get("split", "?")
    steps = f", for {card['steps']} steps" if "steps" in card else ""
    return f"Trained on `{name}`, split `{split}`{steps}. `facejax.json` has the whole config."


def _evaluation(card: Mapping[str, Any]) -> str:
    trained, untrained = _metrics(card, "metrics"), _metrics(card, "untrained_metrics")
    if not trained:
        return "Not evaluated."
    columns = ("metric", "data", "untrained", "trained")
    rows = [
        (f"`{name}`", _data_of(card, name.split("/")[0]), _number(untrained.get(name)), _number(value))
        for name, value in trained.items()
    ]
    return _table(columns, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def base_name(folder: str) -> str:
    """The last part of a path: where it lies is nobody's business."""
    return pathlib.PurePosixPath(str(folder)).name or str(folder)
