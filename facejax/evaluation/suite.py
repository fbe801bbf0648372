"""What the training loop calls: the evaluations that a config names, all at once, as a flat dict of metrics."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import jax
import numpy as np
import tqdm
from absl import logging
from jax.experimental import multihost_utils
from pydantic import Field, model_validator

from facejax.config_schema.fields import (
    Folder,
    Names,
    OptionalNumber,
    OptionalText,
    PositiveCount,
    Section,
    Switch,
    Text,
    key,
)
from facejax.errors import UserError
from facejax.evaluation import alignment, linear_probe, nearest_neighbours, ridge, verification
from facejax.progress import phase

FITTED = {"linear", "ridge", "alignment"}  # probes with a penalty that is chosen on a held-out part


Probe = Literal["knn", "retrieval", "linear", "ridge", "alignment", "verification"]


class Evaluation(Section):
    """One labelled data set and what is asked of the features there.

    The probes:
      `knn`: k nearest neighbours; integer label -> knn_accuracy.
      `retrieval`: the single nearest neighbour; integer label -> top1_accuracy.
      `linear`: logistic regression; integer label -> linear_accuracy, linear_mean_class_accuracy; or [A] binary label
        -> mean_accuracy (the field's headline for attributes), mean_balanced_accuracy (which tells more where an
        attribute is rare), mean_f1 (the headline for action units).
      `ridge`: regression; real label, [A] or one number -> mae, r2.
      `alignment`: landmarks by the same regression; [P, 2] points of images of one size -> nme (over the distance of
        the outer eye corners), failure_rate and auc at 0.1.
      `verification`: ten folds of pairs, the images 2i and 2i + 1 in the order of the records; binary label, the same
        in both -> verification_accuracy. It looks at the test split only.
    """

    label: Text = key("field of the records that is predicted")
    probes: Annotated[
        tuple[Probe, ...], Field(min_length=1, title=f"a tuple of some of {', '.join(get_args(Probe))}")
    ] = key("what is measured")
    data: Folder = key("folder of the records")
    train_split: Text = key(
        "split that a probe is fitted on, or whose images are the neighbours; the test split itself: leave one out, "
        "for knn and retrieval",
        default="train",
    )
    test_split: Text = key("split that is judged", default="test")
    k: PositiveCount = key("neighbours that vote in knn", default=20)
    names: Names = key("names of the label's entries; given, each has its metrics too, such as mae_yaw", default=())
    threshold: OptionalNumber = key(
        "for linear on intensities: positive from here on (action units: 2 of 5)", default=None
    )
    groups: OptionalText = key(
        "field (identity, subject) whose values stay together when a part of the training split is held out to choose "
        "a penalty; for test splits with other people",
        default=None,
    )
    kinds: Names = key("kinds of features that are judged; (): all that the method has", default=())
    optional: Switch = key("skip the evaluation where the records do not have the label", default=False)
    flip: Switch = key("add the features of an image and of its mirror image, as recognition is judged", default=False)
    input_range: Literal["trained", "half"] = key(
        "half: the network sees images half as far from mid-grey as in training, as LAFS' official evaluation has it",
        default="trained",
    )

    def encode(self, encode: Callable[[np.ndarray], Any], images: np.ndarray):
        """What `encode` makes of uint8 images [B, S, S, 3] as they are presented here."""
        if self.input_range == "half":
            images = np.float32(255 / 4) + images.astype(np.float32) / 2
        features = encode(images)
        return jax.tree.map(operator.add, features, encode(images[:, :, ::-1])) if self.flip else features

    def presented(self, split: str) -> tuple[str, str, bool, str]:
        """What decides the features of a split: equal ones are extracted once."""
        return self.data, split, self.flip, self.input_range

    @model_validator(mode="after")
    def _fits_on_other_images(self):
        fitted = FITTED & set(self.probes)
        if fitted and self.train_split == self.test_split:
            raise ValueError(f"the probe '{min(fitted)}' needs a train_split other than its test_split")
        return self

    def splits(self) -> dict[str, set[str]]:
        """The fields that are wanted of each split."""
        wanted = {self.test_split: {self.label}}
        if set(self.probes) - {"verification"}:
            wanted.setdefault(self.train_split, set()).add(self.label)
            if self.groups and FITTED & set(self.probes):
                wanted[self.train_split].add(self.groups)
        return wanted


def without_unlabelled(
    evaluations: Mapping[str, Evaluation], splits: Mapping[tuple[str, str], Any]
) -> dict[str, Evaluation]:
    """Leaves out the optional evaluations whose label the records do not have.

    Args:
      evaluations: by name.
      splits: (folder, split) -> records with `features`, for every split that the evaluations name.
    """
    labelled = {}
    for name, evaluation in evaluations.items():
        if evaluation.optional and evaluation.label not in splits[evaluation.data, evaluation.test_split].features:
            logging.info("%s has no field '%s': no evaluation '%s'", evaluation.data, evaluation.label, name)
        else:
            labelled[name] = evaluation
    return labelled


def evaluate(
    encode: Callable[[np.ndarray], Any],
    evaluations: Mapping[str, Evaluation],
    batches: Callable[[str, str, tuple[str, ...]], Iterable[dict[str, np.ndarray]]],
) -> dict[str, float]:
    """Features of every (folder, split) that is named, extracted once, then all metrics.

    With several processes, each calls it with all the images in the same order; `encode` splits a batch over the mesh,
    and each process gets all features and computes all metrics.

    Args:
      encode: uint8 [B, S, S, 3] -> features [B, D], or a dict {kind: [B, D]} where a method has several kinds. Always
        called with full batches.
      evaluations: by name.
      batches: (folder, split, fields) -> batches in the order of the records: dicts of `image` uint8 [B, S, S, 3], the
        fields [B, ...] and `mask` bool [B]. Where the mask is false is padding, or a skipped record if `skipped` int
        [B] is above 0: they count in no metric. It raises a `UserError` for a field that the records lack.

    Returns:
      {"expression/knn_accuracy": 0.41, ...}; with kinds {"expression/face/knn_accuracy": 0.41, ...}. A metric that is
      not defined for these labels (balanced accuracy where a test split has one value only) is left out.

    Raises:
      UserError: a label that does not suit the probe; features that are not finite; an empty split.
    """
    wanted: dict[tuple[str, str, bool, str], tuple[Evaluation, set[str]]] = {}  # split, and how images are presented
    for evaluation in evaluations.values():
        for split, fields in evaluation.splits().items():
            wanted.setdefault(evaluation.presented(split), (evaluation, set()))[1].update(fields)
    extracted = {
        presented: _extract(
            functools.partial(evaluation.encode, encode), batches, *presented[:2], tuple(sorted(fields))
        )
        for presented, (evaluation, fields) in wanted.items()
    }

    metrics = {}
    for name, evaluation in evaluations.items():
        test_features, test_fields, test_there = extracted[evaluation.presented(evaluation.test_split)]
        train = evaluation.presented(evaluation.train_split)
        train_features, train_fields, _ = extracted.get(train, ({}, {}, None))
        for kind in evaluation.kinds:
            if kind not in test_features:
                there = ", ".join(test_features) if any(test_features) else "one kind without a name"
                raise UserError(f"config.evaluations.{name}.kinds: there are no features '{kind}'; there are: {there}")
        for kind, features in test_features.items():
            if evaluation.kinds and kind not in evaluation.kinds:
                continue
            prefix = f"{name}/{kind}/" if kind else f"{name}/"
            task = _Task(name, evaluation, train_features.get(kind), train_fields, features, test_fields, test_there)
            with phase(f"Evaluating '{prefix.rstrip('/')}'"):
                for probe in evaluation.probes:
                    metrics |= {prefix + metric: float(value) for metric, value in PROBES[probe](task).items()}
    undefined = [name for name, value in metrics.items() if np.isnan(value)]
    if undefined:
        logging.warning("Not defined on these labels, left out: %s", ", ".join(undefined))
    return {name: value for name, value in metrics.items() if name not in undefined}


def _extract(encode, batches, folder, split, fields):
    """({kind: float32 [N, D]}, {field: [N, ...]}, bool [M]); a method's only kind is "".

    Of the M records of the split, N are there and the others were skipped.
    """
    features, labels, there, running = {}, {field: [] for field in fields}, [], []

    def collect():
        encoded, mask = running.pop(0)
        for kind, values in (encoded if isinstance(encoded, Mapping) else {"": encoded}).items():
            features.setdefault(kind, []).append(_to_host(values)[mask])

    progress = tqdm.tqdm(desc=f"features of {split}", unit=" images", delay=3, disable=jax.process_index() != 0)
    with progress:
        for batch in batches(folder, split, fields):
            mask = np.asarray(batch["mask"], bool)
            there.append(mask[mask | (np.asarray(batch.get("skipped", 0)) > 0)])
            running.append((encode(batch["image"]), mask))  # returns at once: the device works while the host reads on
            for field in fields:
                labels[field].append(np.asarray(batch[field])[mask])
            if len(running) > 2:
                collect()
            progress.update(int(mask.sum()))
        while running:
            collect()
    if not sum(len(part) for kind in features.values() for part in kind):
        raise UserError(f"{folder} ({split}) has no images to evaluate on")
    features = {kind: np.concatenate(parts) for kind, parts in features.items()}
    for kind, values in features.items():
        bad = int((~np.isfinite(values)).any(1).sum())
        if bad:
            named = f"features '{kind}'" if kind else "features"
            raise UserError(
                f"the {named} of {bad} of {len(values)} images of {folder} ({split}) are not finite: "
                "the encoder has diverged (a lower learning rate may help)"
            )
    labels = {field: np.concatenate(parts) for field, parts in labels.items()}
    return features, labels, np.concatenate(there)


def _to_host(values) -> np.ndarray:
    if isinstance(values, jax.Array) and not (values.is_fully_addressable or values.is_fully_replicated):
        values = multihost_utils.process_allgather(values, tiled=True)
    return np.asarray(values, np.float32)


@dataclasses.dataclass(frozen=True)
class _Task:
    """Features and labels for the probes of one evaluation and one kind of features."""

    name: str
    evaluation: Evaluation
    train: np.ndarray | None
    train_fields: dict[str, np.ndarray]
    test: np.ndarray
    test_fields: dict[str, np.ndarray]
    test_there: np.ndarray

    @property
    def train_labels(self):
        return self.train_fields[self.evaluation.label]

    @property
    def test_labels(self):
        return self.test_fields[self.evaluation.label]

    @property
    def groups(self):
        return self.train_fields.get(self.evaluation.groups)

    def unsuitable(self, probe, needs):
        labels = self.test_labels
        return UserError(
            f"config.evaluations.{self.name}: the probe '{probe}' needs {needs}, but '{self.evaluation.label}' is "
            f"{labels.dtype} {list(labels.shape[1:]) or 'one number'} for an image"
        )

    def by_name(self, metric, values):
        """{metric_NAME: value} where the config names the label's entries."""
        names = self.evaluation.names
        if names and len(names) != len(values):
            raise UserError(
                f"config.evaluations.{self.name}.names has {len(names)} names, but '{self.evaluation.label}' has "
                f"{len(values)} entries"
            )
        return {f"{metric}_{name}": value for name, value in zip(names, values, strict=bool(names))}


def _neighbour_accuracy(task, probe, k):
    if task.test_labels.ndim != 1 or not np.issubdtype(task.test_labels.dtype, np.integer):
        raise task.unsuitable(probe, "one integer for an image")
    if task.evaluation.train_split == task.evaluation.test_split:
        return nearest_neighbours.knn_accuracy(task.test, task.test_labels, k=k)
    _tell_unseen_classes(task)
    return nearest_neighbours.knn_accuracy(task.train, task.train_labels, task.test, task.test_labels, k=k)


def _knn(task):
    return {"knn_accuracy": _neighbour_accuracy(task, "knn", task.evaluation.k)}


def _retrieval(task):
    return {"top1_accuracy": _neighbour_accuracy(task, "retrieval", 1)}


def _linear(task):
    labels, threshold = (task.train_labels, task.test_labels), task.evaluation.threshold
    if labels[0].ndim == 1 and np.issubdtype(labels[0].dtype, np.integer) and threshold is None:
        _tell_unseen_classes(task)
        classes = linear_probe.linear_probe(task.train, labels[0], task.test, labels[1], groups=task.groups)
        logging.info("Linear probe of '%s': penalty %g", task.name, classes.penalty)
        return {
            "linear_accuracy": classes.accuracy,
            "linear_mean_class_accuracy": classes.mean_class_accuracy,
        }
    if threshold is not None:
        labels = tuple(values >= threshold for values in labels)
    if labels[0].ndim != 2 or not all(np.isin(values, (0, 1)).all() for values in labels):
        raise task.unsuitable("linear", "one integer, or several zeros and ones (or a 'threshold' that makes them)")
    result = linear_probe.attribute_probe(task.train, labels[0], task.test, labels[1], groups=task.groups)
    logging.info("Linear probe of '%s': penalty %g", task.name, result.penalty)
    metrics = {"accuracy": result.accuracy, "balanced_accuracy": result.balanced_accuracy, "f1": result.f1}
    means = {f"mean_{metric}": _mean_of_defined(values) for metric, values in metrics.items()}
    each = {name: value for metric, values in metrics.items() for name, value in task.by_name(metric, values).items()}
    return means | each


def _ridge(task):
    train_labels, test_labels = task.train_labels, task.test_labels
    if test_labels.ndim > 2 or not np.issubdtype(test_labels.dtype, np.number):
        raise task.unsuitable("ridge", "one or several numbers for an image")
    if not all(np.isfinite(values).all() for values in (train_labels, test_labels)):
        raise UserError(f"config.evaluations.{task.name}: some values of '{task.evaluation.label}' are not finite")
    result = ridge.ridge_regression(task.train, train_labels, task.test, test_labels, groups=task.groups)
    logging.info("Ridge regression of '%s': penalties %s", task.name, " ".join(f"{p:g}" for p in result.penalty))
    metrics = {"mae": result.mean_absolute_error, "r2": result.r2}
    means = {metric: _mean_of_defined(values) for metric, values in metrics.items()}
    each = {name: value for metric, values in metrics.items() for name, value in task.by_name(metric, values).items()}
    return means | each


def _alignment(task):
    if task.test_labels.ndim != 3 or not np.issubdtype(task.test_labels.dtype, np.number):
        raise task.unsuitable("alignment", "[P, 2] points for an image")
    points, true = (labels.reshape(len(labels), -1) for labels in (task.train_labels, task.test_labels))
    predicted = ridge.ridge_regression(task.train, points, task.test, true, groups=task.groups).predictions
    result = alignment.alignment(predicted.reshape(task.test_labels.shape), task.test_labels)
    return {"nme": result.nme, "failure_rate": result.failure_rate, "auc": result.auc}


def _verification(task):
    labels = task.test_labels
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise task.unsuitable("verification", "one 0 or 1 for an image")
    there, odd = task.test_there, len(task.test_there) % 2
    features = task.test
    if not odd and not there.all():  # a skipped record takes its partner with it
        paired = np.repeat(there.reshape(-1, 2).all(1), 2)[there]
        logging.warning(
            "Evaluation '%s': %d images whose partners were skipped are left out", task.name, (~paired).sum()
        )
        features, labels = features[paired], labels[paired]
    if odd or (labels[0::2] != labels[1::2]).any() or len(labels) < 20:
        raise UserError(
            f"config.evaluations.{task.name}: the probe 'verification' needs at least 10 pairs, images 2i and 2i + 1 "
            f"with the same '{task.evaluation.label}'; {task.evaluation.data} ({task.evaluation.test_split}) has "
            f"{len(labels)} images that are not so"
        )
    return {"verification_accuracy": verification.verify_pairs(features, labels[0::2]).accuracy}


def _tell_unseen_classes(task):
    unseen = np.setdiff1d(task.test_labels, task.train_labels)
    if len(unseen):
        share = np.isin(task.test_labels, unseen).mean()
        logging.warning(
            "Evaluation '%s': %d classes (%s%s) of the test split are not in the training split; their images, %.1f %% "
            "of all, count as wrong",
            task.name, len(unseen), ", ".join(map(str, unseen[:5])), " ..." * (len(unseen) > 5), 100 * share,
        )  # fmt: skip


def _mean_of_defined(values):
    defined = values[~np.isnan(values)]
    return defined.mean() if len(defined) else float("nan")


PROBES: dict[Probe, Callable[[_Task], dict[str, float]]] = {
    "knn": _knn,
    "retrieval": _retrieval,
    "linear": _linear,
    "ridge": _ridge,
    "alignment": _alignment,
    "verification": _verification,
}
