"""IJB-B and IJB-C by templates: 1:1 verification, and 1:N search in two galleries."""

from typing import Literal

import numpy as np
from absl import logging
from etils import epath

from facejax import paths
from facejax.config_schema.fields import Count, Switch, key
from facejax.errors import UserError
from facejax.evaluation import templates
from facejax.evaluation.protocols import roc
from facejax.evaluation.protocols.protocol import Outcome, Protocol, Settings, Task

FIELDS = ("template", "medium", "subject", "role", "detector_score")  # of records that data_prep.ijb writes
GALLERIES, PROBE = (1, 2), 3  # of the field `role`
PAIRS = "pairs.npz"
RANKS, FPIR_LEVELS = (1, 5), (0.01, 0.1)
_FAR_LEVELS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


class TemplateTask(Settings):
    """Templates of several images of a person are compared."""

    flip: Switch = key("add the features of the mirror image, as the official script does", default=True)
    images_of_a_template: Count = key(
        "0: the records have templates, as data_prep.ijb writes them; else templates of so many images are made of the "
        "people of `groups`, all of them are compared, and the first of each person is the gallery",
        default=0,
    )
    reading: Literal["official", "all_thresholds"] = key(
        "how a FAR is looked up: official drops intermediate thresholds first, as published numbers do",
        default="official",
    )

    def splits(self) -> dict[str, set[str]]:
        """The lists' fields, or the people."""
        return {self.test_split: {self.groups} - {None} if self.images_of_a_template else set(FIELDS)}


def ijb(task: Task) -> Outcome:
    """tar_at_far_LEVEL of 1:1; rank_N, tpir_at_fpir_LEVEL of 1:N, the mean of the galleries; drawn by people."""
    lists = _made(task) if task.settings.images_of_a_template else _of_records(task)
    pooled = templates.pool(
        task.test.features, None, lists["detector_score"], lists["template"], lists["medium"], switches=("no_flip",)
    )
    _, first = np.unique(lists["template"], return_index=True)
    subjects, roles = lists["subject"][first], lists["role"][first]
    people, person = np.unique(subjects, return_inverse=True)
    pairs = _all_pairs(pooled, subjects) if task.settings.images_of_a_template else _read_pairs(task)
    found, curve = _one_to_one(pooled, pairs, person, task)
    found |= _one_to_many(pooled, subjects, person, roles)
    return Outcome(found, len(people), unit="people", curve=curve)


def _of_records(task: Task) -> dict[str, np.ndarray]:
    return {field: np.asarray(task.test.fields[field]) for field in FIELDS}


def _made(task: Task) -> dict[str, np.ndarray]:
    """Templates of the first so many images of a person, the next, and so on; half of the people are in no gallery."""
    if task.settings.groups is None:
        raise UserError(f"{task.key}.groups must name the people that templates are made of")
    unique, person = np.unique(task.test.fields[task.settings.groups], return_inverse=True)
    order = np.argsort(person, kind="stable")
    rank = np.empty(len(person), int)
    starts = np.searchsorted(person[order], np.arange(len(unique)))
    rank[order] = np.arange(len(person)) - starts[person[order]]
    number = rank // task.settings.images_of_a_template
    if not number.any():
        raise UserError(
            f"{task.key}: every person of {task.test.source} has one template of "
            f"{task.settings.images_of_a_template} images, which no other can match; make templates smaller"
        )
    template = person * (number.max() + 1) + number
    role = np.where((number == 0) & (person % 2 == 0), GALLERIES[0], PROBE)
    role = np.where((number == 0) & (person % 2 == 1), GALLERIES[1], role)
    ones = np.ones(len(person), np.float32)
    return dict(zip(FIELDS, (template, np.arange(len(person)), person, role, ones), strict=True))


def _all_pairs(pooled: templates.Templates, subjects) -> templates.Pairs:
    one, two = np.triu_indices(len(subjects), 1)
    return templates.Pairs(pooled.identifiers[one], pooled.identifiers[two], subjects[one] == subjects[two])


def _read_pairs(task: Task) -> templates.Pairs:
    path = paths.resolve(task.settings.data) / PAIRS
    try:
        with epath.Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return templates.Pairs(arrays["first"], arrays["second"], arrays["same"].astype(bool))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} has no pairs of templates ({error!s:.80}): convert with data_prep.ijb") from error


def _one_to_one(pooled, pairs: templates.Pairs, person, task: Task):
    """Statistics of the people, and the curve."""
    levels = roc.levels_of(pairs.same, _FAR_LEVELS)
    official = templates.verify_templates(pooled, pairs, levels=levels, reading=task.settings.reading)
    order = np.argsort(-official.scores, kind="stable")
    one, two = (
        person[np.searchsorted(pooled.identifiers, names)].astype(np.int32)[order]
        for names in (pairs.first, pairs.second)
    )
    same = pairs.same[order]
    last = np.flatnonzero(np.diff(official.scores[order], append=-np.inf))

    def tar(level: float, at_once: float):
        def statistic(counts):
            if (counts == 1).all():
                return np.full(len(counts), at_once)
            return np.array([_read(row, one, two, same, last, level) for row in counts])

        return statistic

    found = {roc.metric(level): tar(level, value) for level, value in zip(levels, official.tar, strict=True)}
    logging.info("%s: FAR read at %s", task.key, ", ".join(f"{far:.2g}" for far in official.far))
    return found, roc.curve(official.roc.far, official.roc.tar)


def _read(row, one, two, same, last, level: float) -> float:
    """TAR at the FAR nearest to a level, where people count as often as `row` says; of all thresholds.

    A pair of one person counts as often as the person, a pair of two as the product (Bolle et al., subsets bootstrap).
    """
    weights = np.where(same, row[one], row[one] * row[two])
    accepted, false = (np.cumsum(weights * kind)[last] for kind in (same, ~same))
    if not accepted[-1] or not false[-1]:
        return float("nan")
    gap = np.abs(false / false[-1] - level)
    return float(accepted[np.flatnonzero(gap == gap.min())[-1]] / accepted[-1])


def _one_to_many(pooled, subjects, person, roles):
    """Statistics of the people; galleries that are empty are left out."""
    searches = []
    for gallery in GALLERIES:
        there, probes = roles == gallery, roles == PROBE
        if there.any() and probes.any() and np.isin(subjects[probes], subjects[there]).any():
            found = templates.search(pooled.features[there], subjects[there], pooled.features[probes], subjects[probes])
            searches.append((found, person[probes]))

    def mean(read):
        return lambda counts: np.mean([read(found, counts[:, who]) for found, who in searches], axis=0)

    if not searches:
        return {}
    found = {f"rank_{at}": mean(lambda one, counts, at=at: one.rank_rate(counts, at)) for at in RANKS}
    if all((~one.mated).any() for one, _ in searches):
        for level in FPIR_LEVELS:
            found[f"tpir_at_fpir_{level:g}"] = mean(lambda one, counts, level=level: one.tpir(counts, level))
    return found


IJB = Protocol(ijb, TemplateTask)
