"""What the training loop calls: the evaluations that a config names, all at once, as a flat dict of metrics."""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import jax
import numpy as np
import tqdm
from absl import logging
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
    Thresholds,
    key,
)
from facejax.data.pipeline import FULL_SIZE, ORIGINS
from facejax.errors import UserError
from facejax.evaluation.protocols import PROTOCOLS
from facejax.evaluation.protocols.protocol import Fitted, Split, Task
from facejax.processes import to_host
from facejax.progress import phase

Probe = Literal["knn", "retrieval", "linear", "ridge", "alignment", "verification", "classification", "landmarks"]
ON_TEST_ALONE = {"verification", "classification", "landmarks"}
FITTED = {probe for probe in get_args(Probe) if issubclass(PROTOCOLS[probe].settings, Fitted)}


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
      `classification`: features that are logits themselves; integer label -> accuracy, mean_class_accuracy; or [A]
        binary label -> as `linear`. It looks at the test split only.
      `landmarks`: features that are points themselves, in pixels of the square; [P, 2] points in pixels of the image
        -> nme (over the distance of the outer eye corners), nme_pupils, failure_rate and auc at each of `thresholds`
        (failure_rate_8 at 0.08), the same for each subset, and the cumulative error curves as a picture. It looks at
        the test split only.
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
    thresholds: Thresholds = key("for landmarks: errors from which a face counts as failed", default=(0.1,))
    subset: OptionalText = key(
        "for landmarks: field of the test split that tells subsets: an integer, or a flag for each", default=None
    )
    subset_names: Names = key("names of the subset's values or flags, in their order", default=())
    origin: Literal[*ORIGINS] = key(
        "for landmarks: what (0, 0) is: the centre of the first pixel or the image's corner", default="center"
    )
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

    def task(self, name: str, probe: Probe, splits: Mapping[str, Split], locate) -> Task:
        """One of the probes as the protocol that it is.

        Args:
          name: of the evaluation.
          probe: one of `probes`.
          splits: by name.
          locate: see `Task`.
        """
        settings = PROTOCOLS[probe].settings
        shared = self.model_dump(include=settings.model_fields.keys() & Evaluation.model_fields.keys())
        return Task(f"config.evaluations.{name}", settings(protocol=probe, **shared), splits, locate)

    @model_validator(mode="after")
    def _fits_on_other_images(self):
        fitted = FITTED & set(self.probes)
        if fitted and self.train_split == self.test_split:
            raise ValueError(f"the probe '{min(fitted)}' needs a train_split other than its test_split")
        return self

    def splits(self) -> dict[str, set[str]]:
        """The fields that are wanted of each split."""
        wanted = {self.test_split: {self.label}}
        if "landmarks" in self.probes:
            wanted[self.test_split] |= {FULL_SIZE, self.subset} - {None}
        if set(self.probes) - ON_TEST_ALONE:
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
    draw: Callable[[str, np.ndarray], None] = lambda name, picture: None,
    locate: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda points, sizes: points,
) -> dict[str, float]:
    """Features of every (folder, split) that is named, extracted once, then all metrics.

    With several processes, `encode` takes the images of this one and gives the features of all; each process gets all
    labels and computes all metrics.

    Args:
      encode: uint8 [B / H, S, S, 3] on H processes -> features [B, D], or a dict {kind: [B, D]} where a method has
        several kinds. Always called with full batches.
      evaluations: by name.
      batches: (folder, split, fields) -> batches in the order of the records: dicts of `image` uint8 [B / H, S, S, 3],
        the fields [B, ...] and `mask` bool [B]. Where the mask is false is padding, or a skipped record if `skipped`
        int [B] is above 0: they count in no metric. It raises a `UserError` for a field that the records lack.
      draw: gets the name of a picture and uint8 [H, W, 3], for each that there is.
      locate: `Preprocessing.locate` of the encoder, for `landmarks`.

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
        kinds = extracted[evaluation.presented(evaluation.test_split)][0]
        for kind in evaluation.kinds:
            if kind not in kinds:
                there = ", ".join(kinds) if any(kinds) else "one kind without a name"
                raise UserError(f"config.evaluations.{name}.kinds: there are no features '{kind}'; there are: {there}")
        for kind in kinds:
            if evaluation.kinds and kind not in evaluation.kinds:
                continue
            prefix = f"{name}/{kind}/" if kind else f"{name}/"
            splits = {
                split: _split(extracted[evaluation.presented(split)], kind, f"{evaluation.data} ({split})")
                for split in evaluation.splits()
            }
            with phase(f"Evaluating '{prefix.rstrip('/')}'"):
                for probe in evaluation.probes:
                    outcome = PROTOCOLS[probe].run(evaluation.task(name, probe, splits, locate))
                    metrics |= {prefix + metric: value for metric, value in outcome.metrics().items()}
                    if outcome.picture is not None:
                        draw(f"{name}_errors", outcome.picture)
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
            features.setdefault(kind, []).append(to_host(values)[mask].astype(np.float32, copy=False))

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


def _split(extracted, kind: str, source: str) -> Split:
    features, fields, there = extracted
    return Split(features[kind], fields, there, source)
