"""Evaluates encoders by a config: data, features, protocols, table; `facejax.evaluate` is its command."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

import facejax
from facejax import columns, paths, training_data
from facejax.columns import Column, Presentation
from facejax.config_schema import evaluation as schema
from facejax.data import embedded
from facejax.errors import UserError
from facejax.evaluation import bootstrap, chart, floors, table
from facejax.evaluation.protocols import PROTOCOLS
from facejax.evaluation.protocols.protocol import Outcome, Settings, Split, Task
from facejax.evaluation.table import Judged, TaskResult
from facejax.feature_store import FeatureStore, default_folder
from facejax.files import write_atomically, write_json
from facejax.progress import phase

RESULTS, TABLE = "results.json", "results.txt"


def judge(
    sources: Sequence[epath.PathLike],
    config,
    *,
    out: epath.PathLike | None = None,
    cache: pathlib.Path | None = None,
) -> str:
    """Evaluates encoders, and compares each with its untrained self and with features that are not learned.

    Args:
      sources: for `facejax.load`.
      config: `ml_collections.ConfigDict`, as experiments/evaluate/NAME.py makes it.
      out: folder for table, numbers and pictures; None: nothing is written.
      cache: folder of the features; None: the user's cache folder.

    Returns:
      The table.

    Raises:
      UserError: an error in config, data or encoders, or an unwritable folder.
    """
    # --- Errors are found before anything is extracted
    values, tasks = schema.check(config)
    floors.check_installed()
    folder = None if out is None else _free(out)
    splits = _open(values, tasks, config.get("synthetic_faces"))
    found = columns.of_sources(sources)
    kinds = {(task, one.name): one.kind(tasks[task].kind, f"config.tasks.{task}") for task in tasks for one in found}
    for (task, column), kind in ((key, kind) for key, kind in kinds.items() if kind):
        next(one for one in found if one.name == column).shape(Presentation.of(tasks[task]), kind)

    # --- Features of every column, presentation and split, once
    store = FeatureStore(cache or default_folder(), skip_corrupt=values.skip_corrupt)
    extracted = {column.name: _extract(column, tasks, splits, kinds, store) for column in found}

    # --- Protocols
    results = []
    for name, settings in tasks.items():
        judged = {}
        for column in [column for column in found if kinds[name, column.name]]:
            with phase(f"Judging {column.name} by '{name}'"):
                parts = _parts(column, settings, extracted[column.name], kinds[name, column.name])
                judged[column.name] = _judge(Task(f"config.tasks.{name}", settings, parts), values)
        below = [column.name for column in found if column.is_floor and column.name in judged]
        results.append(_result(name, settings, judged, below))
    text = table.format_table(results, values.draws)
    if folder is not None:
        _write(folder, text, results, values, found)
    return text


def _free(out: epath.PathLike) -> epath.Path:
    folder = paths.resolve(out, "--out")
    if (folder / RESULTS).exists():
        raise UserError(f"--out={folder} holds results already: choose another folder, or remove them first")
    return folder


def _open(values: schema.EvaluationConfig, tasks: Mapping[str, Settings], faces) -> dict:
    """(folder, split) -> records; synthetic faces are rendered if they are missing."""
    places = {}
    for name, settings in tasks.items():
        for place in settings.places().values():
            places.setdefault(place, f"config.tasks.{name}")
    planned = embedded.planned(faces, places)
    there = {place: key for place, key in places.items() if place not in planned}
    splits = training_data.open_splits(there, values.skip_corrupt) | planned
    for name, settings in tasks.items():
        for split, fields in settings.splits().items():
            source = splits[settings.places()[split]]
            if missing := sorted(fields - source.features.keys()):
                raise UserError(
                    f"config.tasks.{name}: {source} has no field '{missing[0]}'; it has: "
                    f"{', '.join(sorted(source.features))}"
                )
    embedded.render_if_missing(faces, needed={folder for folder, _ in places})
    return splits | training_data.open_splits({place: places[place] for place in planned}, values.skip_corrupt)


def _extract(column: Column, tasks, splits, kinds, store) -> dict[tuple, dict[str, Split]]:
    """(presentation, folder, split) -> kind -> features and labels."""
    wanted: dict[tuple, set[str]] = {}
    for name, settings in tasks.items():
        for place in settings.places().values() if kinds[name, column.name] else ():
            wanted.setdefault((Presentation.of(settings), *place), set()).add(kinds[name, column.name])
    return {key: store.get(column, splits[key[1:]], key[0], sorted(asked)) for key, asked in wanted.items()}


def _parts(column: Column, settings: Settings, extracted, kind: str) -> dict[str, Split]:
    """The splits of a task, with their features as evaluated."""
    shown = Presentation.of(settings)
    parts = {split: extracted[shown, *place][kind] for split, place in settings.places().items()}
    fitted = next(iter(parts))
    features = column.reduce({split: part.features for split, part in parts.items()}, fitted)
    return {split: Split(features[split], part.fields, part.there, part.source) for split, part in parts.items()}


def _judge(task: Task, values: schema.EvaluationConfig) -> tuple[Judged, str]:
    """The result of a column, and the draws for its intervals."""
    outcome = PROTOCOLS[task.settings.protocol].run(task)
    groups, drawn = _groups(task, outcome)
    sampled = bootstrap.sample(outcome.statistics, groups, number=values.draws, seed=values.seed)
    estimates = {
        name: bootstrap.estimate(statistic, outcome.units, sampled[name])
        for name, statistic in outcome.statistics.items()
    }
    return Judged(estimates, sampled, outcome.curve), drawn


def _groups(task: Task, outcome: Outcome) -> tuple[np.ndarray, str]:
    """The groups of units that are drawn together, and their number in words."""
    if outcome.groups is not None:
        groups, unit = outcome.groups, outcome.unit
    elif outcome.images is not None and task.settings.groups:
        groups, unit = task.test.fields[task.settings.groups][outcome.images], "people"
    else:
        groups, unit = np.arange(outcome.units), outcome.unit
    return groups, f"{len(np.unique(groups))} {unit}"


def _result(name: str, settings: Settings, judged, floor_names) -> TaskResult:
    _, drawn = next(iter(judged.values()))
    columns_ = {column: one for column, (one, _) in judged.items()}
    suffixes = tuple(f"_{entry}" for entry in getattr(settings, "names", ()))
    untold = PROTOCOLS[settings.protocol].untold
    metrics = next(iter(columns_.values())).estimates
    headlines = [one for one in metrics if not one.endswith(suffixes) and one.split("_")[0] not in untold]
    return TaskResult(name, settings.protocol, drawn, columns_, floor_names, headlines)


def _write(folder: epath.Path, text: str, results, values, found: Sequence[Column]) -> None:
    for result in results:
        write_atomically(folder / f"{result.name}.png", chart.draw(result))
    write_atomically(folder / TABLE, text + "\n")
    described = {
        column.name: {
            "weights": column.weights,
            **{name: column.encoder.card.get(name) for name in ("method", "source", "steps")},
        }
        for column in found
        if isinstance(column, columns.EncoderColumn)
    }
    content = {
        "facejax": facejax.__version__,
        "encoders": described,
        "config": values.model_dump(mode="json"),
        "tasks": {result.name: table.as_json(result) for result in results},
    }
    write_json(folder / RESULTS, content)
