"""Few-shot subsets of labelled records: some identities, and a few images of each."""

import dataclasses

import numpy as np

from facejax.data import labels
from facejax.data.records import RecordSource
from facejax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some records of a source, with their labels counted anew from 0. Takes the source's place in the pipeline.

    Attributes:
      source: the records.
      label: the field whose values become 0, 1, ... `num_classes` - 1.
      indices: of the records that are kept, ascending.
      classes: the labels that are kept, ascending; its length is the number of classes.
    """

    source: RecordSource
    label: str
    indices: np.ndarray
    classes: np.ndarray

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)

    @property
    def features(self):
        """Features of the records."""
        return self.source.features

    def where(self, i: int) -> str:
        """The file of record i of the subset and its place in that file."""
        return self.source.where(int(self.indices[i]))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> dict:
        record = self.source[int(self.indices[i])]
        return record | {self.label: np.searchsorted(self.classes, record[self.label])}

    def __repr__(self) -> str:
        return f"{len(self)} records of {self.num_classes} {self.label} labels of {self.source}"


def subset(
    source: RecordSource,
    label: str,
    *,
    images_per_class: int = 0,
    class_share: float = 1.0,
    seed: int = 0,
    skip_corrupt: bool = False,
) -> Subset:
    """Keeps a share of the classes of a label, and of each at most so many images, both drawn at random.

    Subsets of one seed are nested: what 1 image a class keeps, 4 images keep too, and so for the shares.

    Args:
      source: the records, all of which are read once; see `labels.read`.
      label: integer field.
      images_per_class: 0: all.
      class_share: in (0, 1].
      seed: of the draw.
      skip_corrupt: leave out records that cannot be read.

    Raises:
      UserError: the records lack the field, or nothing would be left.
      CorruptRecord: a record cannot be read (unless `skip_corrupt`).
    """
    readable, (column,) = labels.read(source, (label,), key="config.data.label", skip_corrupt=skip_corrupt)
    chosen, classes = choose(column, images_per_class=images_per_class, class_share=class_share, seed=seed)
    if not len(chosen):
        raise UserError(f"{source}: {class_share:g} of the classes of '{label}' are none; keep more")
    return Subset(source, label, readable[chosen], classes)


def choose(labels, *, images_per_class: int, class_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the labels [N] to keep; see `subset`.

    Returns:
      Indices and classes that are kept, both ascending.

    Example:
      >>> indices, classes = choose([7, 7, 3, 3, 3, 7], images_per_class=1, class_share=1.0, seed=0)
      >>> len(indices), classes.tolist()
      (2, [3, 7])
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(labels))
    classes = np.sort(classes[: round(class_share * len(classes))])
    shuffled = rng.permutation(len(labels))
    shuffled = shuffled[np.isin(labels[shuffled], classes)]
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]  # by class, at random within it
    starts = np.searchsorted(labels[order], labels[order])
    kept = order[np.arange(len(order)) - starts < images_per_class] if images_per_class else order
    return np.sort(kept), classes
