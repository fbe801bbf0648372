"""A protocol: settings, a function from features and labels to statistics, and which metrics should be low."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from pydantic import model_validator

from facejax.config_schema.fields import (
    Folder,
    Names,
    OptionalImageSize,
    OptionalText,
    Section,
    Switch,
    Text,
    key,
)
from facejax.errors import UserError
from facejax.evaluation.statistics import Statistic, value


class Settings(Section):
    """Settings of every task: the records, and the presentation of their images."""

    protocol: Text = key("how it is measured")
    data: Folder = key("folder of the records")
    test_split: Text = key("split that is judged", default="test")
    groups: OptionalText = key(
        "field (identity, subject) whose values stay together: when a part of the training split is held out to choose "
        "a penalty, and when the test split is drawn again for the intervals",
        default=None,
    )
    kind: OptionalText = key("kind of features that is judged; None: each encoder's first", default=None)
    flip: Switch = key("add the features of an image and of its mirror image, as recognition is judged", default=False)
    input_range: Literal["trained", "half"] = key(
        "half: the network sees images half as far from mid-grey as in training, as LAFS' official evaluation has it",
        default="trained",
    )
    image_size: OptionalImageSize = key("side of the images that the network sees; None: its own", default=None)
    interpolation: Literal["area", "bilinear", "bicubic", None] = key(
        "how images are resized; None: the encoder's way", default=None
    )

    def splits(self) -> dict[str, set[str]]:
        """The required fields of each split."""
        return {self.test_split: {self.groups} - {None}}

    def places(self) -> dict[str, tuple[str, str]]:
        """Folder and name of each split, as they are on disk."""
        return {split: (self.data, split) for split in self.splits()}


class Labelled(Settings):
    """Settings of a task with a field of the records as label."""

    label: Text = key("field of the records that is predicted")
    train_split: Text = key("split that a probe is fitted on, or whose images are the neighbours", default="train")
    train_data: OptionalText = key("folder of that split, if it is another one", default=None)

    def splits(self) -> dict[str, set[str]]:
        """Label and groups of both splits."""
        return {split: {self.label, self.groups} - {None} for split in (self.train_split, self.test_split)}

    def places(self) -> dict[str, tuple[str, str]]:
        """The training split may be in another folder."""
        places = super().places()
        return places if self.train_data is None else places | {self.train_split: (self.train_data, self.train_split)}


class Fitted(Labelled):
    """Settings of a task with a probe that is fitted on another split."""

    names: Names = key("names of the label's entries; given, each has its metrics too, such as mae_yaw", default=())

    @model_validator(mode="after")
    def _fits_on_other_images(self):
        if self.train_split == self.test_split:
            raise ValueError(f"'{self.protocol}' needs a train_split other than its test_split")
        return self


@dataclasses.dataclass(frozen=True)
class Split:
    """Features and labels of the N images of a split.

    Attributes:
      features: float32 [N, D].
      fields: labels, [N, ...] each.
      there: bool [M], which of the records could be read; N are true. None: all.
      source: name, for errors.
    """

    features: np.ndarray
    fields: Mapping[str, np.ndarray]
    there: np.ndarray | None = None
    source: str = "the split"

    def __len__(self) -> int:
        return len(self.features)

    @property
    def present(self) -> np.ndarray:
        """bool [M], which of the records could be read."""
        return np.ones(len(self), bool) if self.there is None else self.there


@dataclasses.dataclass(frozen=True)
class Task:
    """Features and labels for one protocol.

    Attributes:
      key: of the config, where it is described; for errors.
      settings: the protocol's.
      splits: by name, those of `settings.splits()`.
      locate: `Preprocessing.locate` of the encoder, for features that are points.
    """

    key: str
    settings: Settings
    splits: Mapping[str, Split]
    locate: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda points, sizes: points

    @property
    def train(self) -> Split:
        """The split that is fitted on."""
        return self.splits[self.settings.train_split]

    @property
    def test(self) -> Split:
        """The split that is evaluated."""
        return self.splits[self.settings.test_split]

    @property
    def train_labels(self) -> np.ndarray:
        """[n, ...]."""
        return self.train.fields[self.settings.label]

    @property
    def test_labels(self) -> np.ndarray:
        """[m, ...]."""
        return self.test.fields[self.settings.label]

    @property
    def train_groups(self) -> np.ndarray | None:
        """[n], or None."""
        return self.train.fields.get(self.settings.groups)

    def unsuitable(self, needs: str) -> UserError:
        """The error for labels that do not suit the protocol."""
        return self.unsuitable_for(self.test_labels, needs)

    def unsuitable_for(self, labels: np.ndarray, needs: str) -> UserError:
        """The same, of labels [N, ...]."""
        return UserError(
            f"{self.key}: the probe '{self.settings.protocol}' needs {needs}, but '{self.settings.label}' is "
            f"{labels.dtype} {list(labels.shape[1:]) or 'one number'} for an image"
        )

    def check_integers(self) -> None:
        """Raises UserError unless the label is an integer."""
        if self.test_labels.ndim != 1 or not np.issubdtype(self.test_labels.dtype, np.integer):
            raise self.unsuitable("one integer for an image")

    def by_name(self, metric: str, statistics: list[Statistic]) -> dict[str, Statistic]:
        """{metric_NAME: statistic} where the config names the label's entries."""
        names = self.settings.names
        if names and len(names) != len(statistics):
            raise UserError(
                f"{self.key}.names has {len(names)} names, but '{self.settings.label}' has {len(statistics)} entries"
            )
        return {f"{metric}_{name}": one for name, one in zip(names, statistics, strict=bool(names))}


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve of an outcome for its picture, next to the metrics.

    Attributes:
      x: [K].
      y: [K].
      labels: of both axes.
      log_x: whether the first axis is logarithmic.
    """

    x: np.ndarray
    y: np.ndarray
    labels: tuple[str, str]
    log_x: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a protocol.

    Attributes:
      statistics: by metric, the most important first.
      units: how many units the statistics count.
      images: [units] the image of the test split that each unit is; None if a unit is something else.
      unit: what a unit is called, in the plural.
      groups: [units], to draw by, where the protocol knows better than the task's field.
      curve: for the picture.
      picture: uint8 [H, W, 3], in the place of one that shows the curve.
    """

    statistics: Mapping[str, Statistic]
    units: int
    images: np.ndarray | None = None
    unit: str = "images"
    groups: np.ndarray | None = None
    curve: Curve | None = None
    picture: np.ndarray | None = None

    @classmethod
    def of_test_images(cls, task: Task, statistics: Mapping[str, Statistic], **more) -> "Outcome":
        """An outcome whose units are the images of the test split, in order."""
        return cls(statistics, len(task.test), np.arange(len(task.test)), **more)

    def metrics(self) -> dict[str, float]:
        """The value of each metric."""
        return {name: value(statistic, self.units) for name, statistic in self.statistics.items()}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to evaluate features.

    Attributes:
      run: from a task to what was found.
      settings: type of the task's settings.
      lower_is_better: first words of the metrics that are better when lower; the others are better when higher.
      untold: first words of the metrics that get no sentence.
    """

    run: Callable[[Task], Outcome]
    settings: type[Settings]
    lower_is_better: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
