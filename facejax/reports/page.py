"""The page: what was read and drawn, laid out by page.html, in one file that needs no network."""

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bokeh
import bokeh.palettes
import jinja2
import numpy as np

from facejax import pictures
from facejax.errors import UserError
from facejax.evaluation import comparison
from facejax.reports import charts, similarity
from facejax.reports.faces import Faces, Label
from facejax.reports.run import Run

GENERATOR = "facejax.report"  # in every page of ours; only such a file is replaced
RATES = {"images_per_second": "images a second", "waiting_for_data": "fraction of the time spent waiting for data"}
NOT_DRAWN = ("seconds_per_step", "seconds_left")
QUERIES, NEIGHBOURS = 6, 6
MOST_IN_LEGEND = 20
DEEPEST = 8
MEANING = {  # of pictures whose name says little
    "fra": "regions",
    "pcl_pose_swaps": "pose swaps",
    "pcl_reconstructions": "reconstructions",
}


def render(runs: Sequence[Run], faces: Faces | None, missing: Sequence[str]) -> str:
    """The page as HTML.

    Args:
      runs: one, or several to be compared.
      faces: that the encoders are looked at with, if there are any.
      missing: lines on what the page cannot show of any run.
    """
    seen = [_seen(run, faces) for run in runs]  # before `missing` of the runs is read
    curves = _curves(runs)
    labels = {name: _for_script(label) for name, label in faces.labels.items()} if faces else {}
    data = {
        "curves": curves,
        "maps": [part and part["map"] for part in seen],
        "thumbnails": [data_uri("image/jpeg", thumbnail) for thumbnail in faces.thumbnails] if faces else [],
        "labels": labels,
        "palette": [_hex(color) for color in pictures.region_colors(MOST_IN_LEGEND)],
        "ramp": bokeh.palettes.Viridis[11],
    }
    folder = Path(bokeh.__file__).parent / "server" / "static" / "js"
    scripts = [_script((folder / "bokeh.min.js").read_text()), _script(_resource("page.js"))]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return _template().render(
        title=" and ".join(run.name for run in runs),
        generator=GENERATOR,
        # Nothing may be fetched; of scripts, the two of this page may run and no other.
        policy="default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {hashes}",
        style=_resource("page.css"),
        scripts=scripts,
        data=data,
        runs=[_summary(run, i) for i, run in enumerate(runs)],
        missing=missing,
        metrics=_metrics(runs),
        explanation=comparison.EXPLANATION,
        nothing=comparison.NOTHING,
        curves=_curve_groups(curves),
        pictures=_pictures(runs),
        faces=f"{len(faces.indices)} faces of {faces.source.folder.name} ({faces.source.split})" if faces else "",
        seen=seen,
        labels=list(labels),
        settings=[("Config", _table([run.config for run in runs])), ("Versions", _table([r.versions for r in runs]))],
        parameters=[run.parameters for run in runs],
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # JSON has no NaN; and Bokeh wants what it refers to before the reference, as it was.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    return environment.from_string(_resource("page.html"))


def data_uri(kind: str, content: bytes) -> str:
    """A file within the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _resource(name: str) -> str:
    return (importlib.resources.files("facejax.reports") / name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """A script that cannot end its element early, and in which no end of a line is rewritten by the reader."""
    return text.replace("</script", "<\\/script").replace("\r", "")


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(channel)):02x}" for channel in color)


# --- What ran, and how fast


def _summary(run: Run, position: int) -> dict[str, Any]:
    facts = {"method": run.method, "workdir": run.folder, "steps": f"{run.steps:,}" + ("" if run.ended else " so far")}
    if (speed := run.curves.get("images_per_second")) is not None:
        facts["speed"] = f"{np.median(speed.values):,.0f} images a second (median)"
    if (took := run.curves.get("seconds_per_step")) is not None:
        facts["training"] = _duration(float((np.diff(took.steps, prepend=0) * took.values).sum()))
    if run.parameters:
        facts["parameters"] = run.parameters.split()[-1]
    if isinstance(devices := run.versions.get("devices"), dict):
        facts["devices"] = ", ".join(f"{count} x {device}" for device, count in devices.items())
    if run.versions.get("facejax"):
        facts["facejax"] = run.versions["facejax"]
    return {"name": run.name, "color": charts.color(position), "facts": facts, "missing": run.missing}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "under 1 min"


# --- Curves


def _curves(runs: Sequence[Run]) -> dict[str, Any]:
    """tag -> chart: the loss, its parts, rates, then metrics that were measured during training."""
    tags = sorted({tag for run in runs for tag in run.curves} - set(NOT_DRAWN), key=lambda tag: (tag != "total", tag))
    drawn = {}
    for tag in tags:
        by_run = {i: run.curves[tag] for i, run in enumerate(runs) if tag in run.curves}
        longest = max(len(curve.steps) for curve in by_run.values())
        constant = tag == "skipped_records" and not any(curve.values.any() for curve in by_run.values())
        if not constant and (longest > 2 or "/" not in tag):
            drawn[tag] = charts.curves(by_run)
    return drawn


def _curve_groups(tags: Iterable[str]) -> dict[str, dict[str, str]]:
    """Heading -> tag -> what it is called."""
    groups = {
        "Training": {tag: tag for tag in tags if "/" not in tag and tag not in RATES},
        "Speed": {tag: RATES[tag] for tag in tags if tag in RATES},
        "Metrics during training": {tag: tag for tag in tags if "/" in tag},
    }
    return {heading: group for heading, group in groups.items() if group}


# --- Metrics


def _metrics(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Evaluation -> rows, each with the cells of all runs."""
    by_run = [{row.metric: row for row in comparison.compare(run.untrained, run.trained)} for run in runs]
    groups: dict[str, list[dict[str, Any]]] = {}
    for metric in dict.fromkeys(metric for rows in by_run for metric in rows):
        evaluation, _, name = metric.partition("/")
        rows = [rows.get(metric, comparison.Row(metric, None, None, None, None)) for rows in by_run]
        values = [row.trained for row in rows if row.trained is not None]
        best = (max if comparison.higher_is_better(metric) else min)(values) if len(values) > 1 else None
        cells = [
            {
                "values": [(value, comparison.format_number(metric, value)) for value in (row.untrained, row.trained)],
                "gain": (row.gain, comparison.format_number(metric, row.gain, "+")),
                "better": row.better,
                "best": best is not None and row.trained == best,
            }
            for row in rows
        ]
        groups.setdefault(evaluation, []).append({"name": name or metric, "cells": cells})
    return groups


# --- Pictures


def _pictures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Name of a picture -> for each run that has it, what it shows at the first and the last step."""
    return [
        {
            "name": MEANING.get(name, name),
            "runs": [
                (run.name, [(step, data_uri("image/webp", image)) for step, image in run.pictures[name].items()])
                for run in runs
                if name in run.pictures
            ],
        }
        for name in dict.fromkeys(name for run in runs for name in run.pictures)
    ]


# --- What the encoder makes of faces


def _seen(run: Run, faces: Faces | None) -> dict[str, Any] | None:
    """Neighbours and map of one run; None, with a line in `run.missing`, where there is nothing to see."""
    if run.encoder is None or faces is None or len(faces.indices) < 3:
        return None
    try:
        cosines = {kind: similarity.cosines(values) for kind, values in faces.embed(run.encoder).items()}
    except (ValueError, UserError) as error:
        run.missing.append(f"neighbours and map: {error}")
        return None
    planes = {kind: similarity.plane(matrix) for kind, matrix in cosines.items()}
    return {
        "run": run.name,
        "map": charts.scatter({kind: coordinates for kind, (coordinates, _) in planes.items()}),
        "kinds": {kind: f"{100 * held:.0f} %" for kind, (_, held) in planes.items()},
        "neighbours": {kind: _neighbours(matrix, faces) for kind, matrix in cosines.items()},
    }


def _neighbours(matrix: np.ndarray, faces: Faces) -> list[dict[str, Any]]:
    """For a few faces, those most like them, with the label that neighbours should share."""
    categories = [name for name, label in faces.labels.items() if label.categories]
    shared = "identity" if "identity" in categories else next(iter(categories), None)
    values = faces.labels[shared].values if shared else np.arange(len(faces.indices))
    texts = [f"{shared} {text}" for text in faces.labels[shared].texts()] if shared else [""] * len(values)
    rows = []
    for query in np.linspace(0, len(matrix) - 1, min(QUERIES, len(matrix))).round().astype(int).tolist():
        found = similarity.nearest(matrix, query, NEIGHBOURS).tolist()
        rows.append(
            {
                "image": data_uri("image/jpeg", faces.thumbnails[query]),
                "text": texts[query],
                "found": [
                    {
                        "image": data_uri("image/jpeg", faces.thumbnails[face]),
                        "text": texts[face],
                        "cosine": f"{matrix[query, face]:.2f}",
                        "same": values[face] == values[query],
                    }
                    for face in found
                ],
            }
        )
    return rows


def _for_script(label: Label) -> dict[str, Any]:
    values = label.values.tolist()
    if label.categories:
        return {"values": values, "categories": [str(category) for category in label.categories]}
    return {"values": [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]}


# --- Config and versions


def _table(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Keys with their values in each run; which of them differ."""
    flat = [dict(_flat(group)) for group in groups]
    rows = [(key, [values.get(key, "-") for values in flat]) for key in dict.fromkeys(key for f in flat for key in f)]
    return {"rows": rows, "differing": [row for row in rows if len(set(row[1])) > 1]}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`a.b.c` and the value there; below `DEEPEST` groups within groups as JSON."""
    if isinstance(value, Mapping) and value and prefix.count(".") < DEEPEST:
        for key, entry in value.items():
            yield from _flat(entry, f"{prefix}.{key}".removeprefix("."))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)
