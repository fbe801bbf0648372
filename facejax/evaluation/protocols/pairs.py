"""Pair verification: ten folds, and the fraction of pairs of one person accepted at a rate of false ones."""

import numpy as np
from absl import logging

from facejax import paths
from facejax.config_schema.fields import Count, OptionalText, Text, key
from facejax.errors import UserError
from facejax.evaluation import templates, verification
from facejax.evaluation.protocols import roc
from facejax.evaluation.protocols.protocol import Curve, Outcome, Protocol, Settings, Task

FOLDS = 10
FAR_LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)


class Pairs(Settings):
    """Pairs of images, of one person or of two."""

    label: Text = key(
        "field of the records: 1 for a pair of one person, else 0, the same in both images; with drawn, the person"
    )
    drawn: Count = key(
        "pairs to draw, half of them of one person; 0: the images 2i and 2i + 1 of the records are a pair",
        default=0,
    )
    list: OptionalText = key(
        "file with the numbers of two records, from 0, and 1 (one person) or 0 in each line, in the order of the folds",
        default=None,
    )

    def splits(self) -> dict[str, set[str]]:
        """The label of the test split; there is no other."""
        return {self.test_split: set() if self.list else {self.label}}


def verify(task: Task) -> Outcome:
    """verification_accuracy, and tar_at_far_LEVEL for levels with enough pairs."""
    features, same = _listed(task) if task.settings.list else _drawn(task) if task.settings.drawn else _paired(task)
    if same.all() or not same.any():
        raise UserError(f"{task.key}: all {len(same)} pairs are of {'one person' if same.all() else 'two people'}")
    distances = verification.distances(features)

    def accuracy(counts):
        return verification.choose_and_judge(distances, same, counts)[0].mean(1)

    found = {"verification_accuracy": accuracy}
    found |= {roc.metric(level): _tar(distances, same, level) for level in roc.levels_of(same, FAR_LEVELS)}
    return Outcome(found, len(same), unit="pairs", curve=_roc(distances, same))


def _listed(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of a list."""
    path, there = paths.resolve(task.settings.list, f"{task.key}.list"), task.test.present
    rows = []
    for where, words in templates.rows(path, 3):
        if not all(word.isdecimal() for word in words) or words[2] not in "01":
            raise UserError(f"{where}: '{' '.join(words)[:80]}' is not the numbers of two records and 0 or 1")
        numbers = [int(word) for word in words]
        if absent := [number for number in numbers[:2] if number >= len(there) or not there[number]]:
            raise UserError(f"{where}: there is no image {absent[0]} in {task.test.source}, which has {there.sum()}")
        rows.append(numbers)
    if len(rows) < FOLDS:
        raise UserError(f"{path} has {len(rows)} pairs: {FOLDS} folds need as many")
    table = np.array(rows)
    position = np.cumsum(there) - 1
    return task.test.features[position[table[:, :2]].ravel()], table[:, 2].astype(bool)


def _drawn(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of two images of one person and of two, in turn, always the same."""
    task.check_integers()
    rng, people = np.random.default_rng(0), task.test_labels
    unique, counts = np.unique(people, return_counts=True)
    several = unique[counts > 1]
    if len(several) == 0 or len(unique) < 2 or task.settings.drawn < 2 * FOLDS:
        raise UserError(f"{task.key}: pairs need two people, two images of one, and drawn={2 * FOLDS} or more")
    pairs = []
    for _ in range(task.settings.drawn // 2):
        pairs.append(rng.choice(np.flatnonzero(people == rng.choice(several)), 2, replace=False))
        pairs.append([rng.choice(np.flatnonzero(people == one)) for one in rng.choice(unique, 2, replace=False)])
    return task.test.features[np.ravel(pairs)], np.arange(len(pairs)) % 2 == 0


def _paired(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Features [2 N, D] and labels bool [N] of whole pairs."""
    labels, there = task.test_labels, task.test.present
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise task.unsuitable("one 0 or 1 for an image")
    odd, features = len(there) % 2, task.test.features
    if not odd and not there.all():  # a skipped record takes its partner with it
        paired = np.repeat(there.reshape(-1, 2).all(1), 2)[there]
        logging.warning("%s: %d images whose partners were skipped are left out", task.key, (~paired).sum())
        features, labels = features[paired], labels[paired]
    if odd or (labels[0::2] != labels[1::2]).any() or len(labels) < 20:
        raise UserError(
            f"{task.key}: the probe 'verification' needs at least 10 pairs, images 2i and 2i + 1 with the same "
            f"'{task.settings.label}'; {task.test.source} has {len(labels)} images that are not so"
        )
    return features, labels[0::2].astype(bool)


def _tar(distances, same, level: float):
    """Fraction of the pairs of one person accepted where at most `level` of the others are."""
    order = np.argsort(distances, kind="stable")
    last = np.flatnonzero(np.diff(distances[order], append=np.inf))  # of those at the same distance

    def statistic(counts):
        accepted = np.cumsum(counts[:, order] * same[order], 1)[:, last]
        false = np.cumsum(counts[:, order] * ~same[order], 1)[:, last]
        allowed = false <= level * false[:, -1:] + 1e-9
        share = np.where(allowed, accepted, 0).max(1)
        return np.divide(share, accepted[:, -1], out=np.full(len(counts), np.nan), where=accepted[:, -1] > 0)

    return statistic


def _roc(distances, same) -> Curve:
    order = np.argsort(distances, kind="stable")
    accepted, false = np.cumsum(same[order]), np.cumsum(~same[order])
    return roc.curve(false / max(false[-1], 1), accepted / max(accepted[-1], 1))


VERIFICATION = Protocol(verify, Pairs)
