"""Action units, cross-validated over folds of subjects: each fold is judged by probes of the others."""

from typing import Annotated

import numpy as np
from absl import logging
from pydantic import Field

from facejax.config_schema.fields import Names, Number, Text, key
from facejax.evaluation import linear_probe, statistics
from facejax.evaluation.protocols.protocol import Outcome, Protocol, Settings, Split, Task


class Folds(Settings):
    """Logistic regression of each unit by L-BFGS."""

    label: Text = key("field of the records: intensities of A units, or zeros and ones")
    folds: Annotated[tuple[Text, ...], Field(min_length=2, title="a tuple of two or more texts")] = key(
        "splits that are folds, each of other people", default=("fold_1", "fold_2", "fold_3")
    )
    threshold: Number = key("intensity from which a unit counts as present (DISFA: 2 of 5)", default=0.5)
    names: Names = key("names of the units; given, each has its metrics too, such as f1_AU1", default=())

    def splits(self) -> dict[str, set[str]]:
        """Label and groups of all folds."""
        return {fold: {self.label, self.groups} - {None} for fold in self.folds}


def action_units(task: Task) -> Outcome:
    """mean_f1, mean_accuracy: of each unit the mean of the folds, then the mean of the units."""
    settings, folds = task.settings, [task.splits[name] for name in task.settings.folds]
    truths = [fold.fields[settings.label] >= settings.threshold for fold in folds]
    if truths[0].ndim != 2:
        raise task.unsuitable_for(folds[0].fields[settings.label], "several numbers for an image")
    predicted = []
    for number in range(len(folds)):
        others = [other for other in range(len(folds)) if other != number]
        found = linear_probe.attribute_probe(
            np.concatenate([folds[other].features for other in others]),
            np.concatenate([truths[other] for other in others]),
            folds[number].features,
            truths[number],
            groups=_groups([folds[other] for other in others], settings.groups),
        )
        logging.info("%s: %s, penalty %g", task.key, settings.folds[number], found.penalty)
        predicted.append(found.predictions)
    starts = np.cumsum([0, *map(len, folds)])
    each = {
        metric: [
            statistics.average(
                [
                    _of_part(make(told[:, unit], true[:, unit]), start, start + len(true))
                    for told, true, start in zip(predicted, truths, starts, strict=False)
                ]
            )
            for unit in range(truths[0].shape[1])
        ]
        for metric, make in (("f1", statistics.f1), ("accuracy", lambda told, true: statistics.mean(told == true)))
    }
    found = {f"mean_{metric}": statistics.average(units) for metric, units in each.items()}
    found |= {name: one for metric, units in each.items() for name, one in task.by_name(metric, units).items()}
    groups = _groups(folds, settings.groups)
    return Outcome(found, int(starts[-1]), unit="images" if groups is None else "people", groups=groups)


def _groups(folds: list[Split], field: str | None) -> np.ndarray | None:
    return None if field is None else np.concatenate([fold.fields[field] for fold in folds])


def _of_part(statistic: statistics.Statistic, start: int, stop: int) -> statistics.Statistic:
    return lambda counts: statistic(counts[:, start:stop])


ACTION_UNITS = Protocol(action_units, Folds)
