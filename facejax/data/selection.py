"""Some of the records of a source."""

import dataclasses

import numpy as np

from facejax.data.records import RecordSource


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some records of a source, which takes the source's place in the pipeline.

    Attributes:
      source: the records.
      indices: of the records that are kept, ascending.
    """

    source: RecordSource
    indices: np.ndarray

    @property
    def features(self):
        """Features of the records."""
        return self.source.features

    def where(self, i: int) -> str:
        """The file of record i of the subset and its place in that file."""
        return self.source.where(int(self.indices[i]))

    def labels(self, field: str, values: np.ndarray) -> np.ndarray:
        """Values of a field of the source's records, as these records have them."""
        return values

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> dict:
        return self.source[int(self.indices[i])]

    def __repr__(self) -> str:
        return f"{len(self)} records of {self.source}"
