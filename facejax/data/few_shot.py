"""Subsets of the records: a random fraction, or few-shot subsets with some identities and a few images of each."""

import dataclasses

import numpy as np

from facejax.data import labels
from facejax.data.records import RecordSource
from facejax.data.selection import Selection
from facejax.errors import UserError

CHOICES = ("random", "prefix")


@dataclasses.dataclass(frozen=True)
class Subset(Selection):
    """A selection with labels renumbered from 0.

    Attributes:
      label: the field whose values become 0, 1, ... `num_classes` - 1.
      classes: the labels that are kept, ascending; its length is the number of classes.
    """

    label: str
    classes: np.ndarray

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)

    def __getitem__(self, i: int) -> dict:
        record = super().__getitem__(i)
        return record | {self.label: self.labels(self.label, record[self.label])}

    def labels(self, field: str, values: np.ndarray) -> np.ndarray:
        """Values of a field of the source's records, as these records have them."""
        return np.searchsorted(self.classes, values) if field == self.label else values

    def __repr__(self) -> str:
        return f"{len(self)} records of {self.num_classes} {self.label} labels of {self.source}"


def select(source: RecordSource, fraction: float, *, seed: int) -> Selection:
    """Keeps a fraction of the records, drawn at random; the subsets of one seed are nested.

    Args:
      source: the records.
      fraction: in (0, 1]; the number of records is rounded down.
      seed: of the draw.

    Raises:
      UserError: nothing would be left.
    """
    count = int(fraction * len(source))
    if not count:
        raise UserError(f"{source}: a fraction of {fraction:g} of its {len(source)} records leaves none; keep more")
    return Selection(source, np.sort(np.random.default_rng(seed).permutation(len(source))[:count]))


def subset(
    source: RecordSource,
    label: str,
    *,
    images_per_class: int = 0,
    class_share: float = 1.0,
    class_choice: str = "random",
    seed: int = 0,
    skip_corrupt: bool = False,
) -> Subset:
    """Keeps a fraction of the classes of a label, and at most a given number of images of each, drawn at random.

    Subsets of one seed are nested: the images kept with 1 per class are also kept with 4, and likewise for fractions.

    Args:
      source: the records, all of which are read once; see `labels.read`.
      label: integer field.
      images_per_class: 0: all.
      class_share: fraction of the classes, in (0, 1].
      class_choice: "random", or "prefix": that fraction of the records from the beginning, as in the official LAFS code
        (the first identities, the last of which may be incomplete).
      seed: of the draw.
      skip_corrupt: leave out records that cannot be read.

    Raises:
      UserError: the records lack the field, or nothing would be left.
      CorruptRecord: a record cannot be read (unless `skip_corrupt`).
    """
    readable, (column,) = labels.read(source, (label,), key="config.data.label", skip_corrupt=skip_corrupt)
    chosen, classes = choose(
        column, images_per_class=images_per_class, class_share=class_share, seed=seed, class_choice=class_choice
    )
    if not len(chosen):
        raise UserError(f"{source}: a fraction of {class_share:g} of the classes of '{label}' leaves none; keep more")
    return Subset(source, readable[chosen], label, classes)


def choose(
    labels, *, images_per_class: int, class_share: float, seed: int, class_choice: str = "random"
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the labels [N] to keep; see `subset`.

    Returns:
      Indices and classes that are kept, both ascending.

    Examples:
      >>> indices, classes = choose([7, 7, 3, 3, 3, 7], images_per_class=1, class_share=1.0, seed=0)
      >>> len(indices), classes.tolist()
      (2, [3, 7])
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(labels))
    classes = np.sort(classes[: round(class_share * len(classes))])
    shuffled = rng.permutation(len(labels))
    if class_choice == "prefix":
        shuffled = shuffled[shuffled < int(class_share * len(labels))]
        classes = np.unique(labels[shuffled])
    shuffled = shuffled[np.isin(labels[shuffled], classes)]
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]  # by class, at random within it
    starts = np.searchsorted(labels[order], labels[order])
    kept = order[np.arange(len(order)) - starts < images_per_class] if images_per_class else order
    return np.sort(kept), classes
