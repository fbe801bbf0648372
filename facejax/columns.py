"""The columns of an evaluation's table: encoders, untrained ones, and features that are not learned."""

import abc
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import jax
import numpy as np
from etils import epath
from flax import traverse_util

from facejax import embedding
from facejax.architectures import name_of
from facejax.encoder import Encoder, load
from facejax.errors import UserError
from facejax.evaluation import floors
from facejax.evaluation.floors import Floor
from facejax.evaluation.protocols.protocol import Settings
from facejax.evaluation.protocols.regions import KIND as HEATMAPS
from facejax.progress import phase

FLOOR_BATCH = 256  # images whose features are stacked


class Images(Protocol):
    """Images of records, by position."""

    def __len__(self) -> int: ...

    def read(self, position: int, at_least: int) -> np.ndarray:
        """uint8 [H, W, 3]; a JPEG may be decoded smaller, as long as it keeps `at_least` pixels along its longer side.

        Raises:
          ValueError: it cannot be read.
        """


@dataclasses.dataclass(frozen=True)
class Presentation:
    """How a task presents images; equal presentations have equal features."""

    flip: bool = False
    input_range: str = "trained"
    image_size: int | None = None
    interpolation: str | None = None
    kind: str | None = None  # only if heatmaps are meant, which are extracted apart from features

    @classmethod
    def of(cls, settings: Settings) -> "Presentation":
        """The presentation in the settings of a task."""
        told = {field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)}
        return cls(**told | {"kind": HEATMAPS if settings.kind == HEATMAPS else None})


class Column(abc.ABC):
    """A source of features of images.

    Attributes:
      name: in the table.
      is_floor: whether it is not learned.
    """

    name: str
    is_floor: bool

    @abc.abstractmethod
    def digest(self, presentation: Presentation) -> str:
        """Everything that the features depend on, apart from the images."""

    @abc.abstractmethod
    def kind(self, asked: str | None, key: str) -> str | None:
        """The kind of features of a task; None: this column has no place in it.

        Raises:
          UserError: there is no such kind; it names the task by its key.
        """

    @abc.abstractmethod
    def shape(self, presentation: Presentation, kind: str) -> tuple[int, ...]:
        """Shape of the features of an image.

        Raises:
          UserError: the network does not support this presentation of images.
        """

    @abc.abstractmethod
    def rows(self, source: Images, presentation: Presentation, unreadable) -> Iterator[embedding.Part]:
        """Features of all images, in order; `unreadable` as for `facejax.embedding.parts`."""

    def reduce(self, splits: Mapping[str, np.ndarray], fitted: str) -> dict[str, np.ndarray]:
        """Features by split as evaluated; `fitted` names the split that anything may be fitted on."""
        return dict(splits)


@dataclasses.dataclass(frozen=True, eq=False)
class EncoderColumn(Column):
    """The features of an encoder."""

    name: str
    encoder: Encoder
    is_floor: bool = False

    @functools.cached_property
    def weights(self) -> str:
        """See `weights_digest`."""
        return weights_digest(self.encoder)

    def presented(self, presentation: Presentation) -> Encoder:
        """The encoder with the preprocessing of a task."""
        preprocessing = self.encoder.preprocessing
        changes = {"size": presentation.image_size, "interpolation": presentation.interpolation}
        changes = {name: value for name, value in changes.items() if value is not None}
        if presentation.input_range == "half":
            low, high = preprocessing.value_range
            changes["value_range"] = (low + (high - low) / 4, high - (high - low) / 4)
        return dataclasses.replace(self.encoder, preprocessing=dataclasses.replace(preprocessing, **changes))

    def digest(self, presentation: Presentation) -> str:
        """Of weights, network, preprocessing and presentation."""
        encoder = self.presented(presentation)
        shown = {"flip": presentation.flip, "preprocessing": dataclasses.asdict(encoder.preprocessing)}
        return hashlib.sha256(json.dumps([self.weights, shown]).encode()).hexdigest()

    def kind(self, asked, key):
        """See `Column`."""
        if asked == HEATMAPS:
            if self.encoder.architecture.has(HEATMAPS):
                return HEATMAPS
            raise UserError(f"{key}: {self.name} has no heatmaps: only encoders that find regions can be judged by it")
        try:
            return self.encoder.kind(asked)
        except UserError as error:
            raise UserError(f"{key}.kind: {self.name}: {error}") from error

    def shape(self, presentation, kind):
        """See `Column`."""
        encoder = self.presented(presentation)
        size = encoder.preprocessing.size
        try:
            encoder.architecture.select(encoder.variables, size, self.name)
            if kind != HEATMAPS:
                return (encoder.dimensions[kind],)
            image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
            return (2, *jax.eval_shape(encoder.architecture.heatmaps, encoder.variables, image).shape[1:])
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.name}: its network does not take images of {size} px ({error!s:.100})") from error

    def rows(self, source, presentation, unreadable):
        """See `Column`."""
        encoder = self.presented(presentation)

        def squares(position):
            size = encoder.preprocessing.size
            return [encoder.preprocessing.fit_to_square(source.read(position, 2 * size))]

        positions = range(len(source))
        if presentation.kind == HEATMAPS:
            return _heatmaps(encoder, embedding.batches(positions, squares, unreadable, embedding.BATCH))
        return embedding.parts(encoder, positions, faces=squares, flip=presentation.flip, unreadable=unreadable)


@dataclasses.dataclass(frozen=True, eq=False)
class FloorColumn(Column):
    """Features that are not learned."""

    name: str
    floor: Floor
    is_floor: bool = True

    def digest(self, presentation):
        """Of the way they are made, and whether the mirror image counts too."""
        return hashlib.sha256(json.dumps([self.name, self.floor.side, presentation.flip]).encode()).hexdigest()

    def kind(self, asked, key):
        """Some floors are heatmaps, the others are not."""
        return "features" if self.floor.is_heatmap == (asked == HEATMAPS) else None

    def shape(self, presentation, kind):
        """See `Column`."""
        return self.floor.rows(np.zeros((self.floor.side, self.floor.side, 3), np.uint8)).shape

    def rows(self, source, presentation, unreadable):
        """See `Column`."""

        def features(position):
            image = source.read(position, 2 * self.floor.side)
            mirrored = self.floor.rows(image[:, ::-1]) if presentation.flip else 0
            return [self.floor.rows(image) + mirrored]

        for positions, rows in embedding.batches(range(len(source)), features, unreadable, FLOOR_BATCH):
            yield embedding.Part(positions, {"features": rows})

    def reduce(self, splits, fitted):
        """Principal components, of those that are reduced."""
        if not self.floor.reduced:
            return dict(splits)
        others = [name for name in splits if name != fitted]
        moved = floors.principal_components(splits[fitted], *(splits[name] for name in others))
        return dict(zip([fitted, *others], moved, strict=True))


def _heatmaps(encoder: Encoder, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[embedding.Part]:
    """Heatmaps of squares and of their mirror images, mirrored back."""
    for positions, squares in batches:
        padded = np.concatenate([squares, np.repeat(squares[-1:], embedding.BATCH - len(squares), axis=0)])
        found = [encoder.heatmaps(padded), encoder.heatmaps(padded[:, :, ::-1])[:, :, ::-1]]
        yield embedding.Part(positions, {HEATMAPS: np.stack(found, 1)[: len(squares)]})


def weights_digest(encoder: Encoder) -> str:
    """SHA-256 of a network's kind, settings and weights."""
    digest = hashlib.sha256(repr(encoder.architecture).encode())
    for name, array in sorted(traverse_util.flatten_dict(dict(encoder.variables), sep="/").items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def of_sources(sources: Sequence[epath.PathLike]) -> list[Column]:
    """Columns of encoders, then of their floors: each network with random weights, and features that are not learned.

    Args:
      sources: for `facejax.load`.

    Raises:
      UserError: one cannot be loaded, or is named twice.
    """
    names = short_names([str(source) for source in sources])
    columns: list[Column] = []
    for name, source in zip(names, sources, strict=True):
        with phase(f"Loading {source}"):
            columns.append(EncoderColumn(name, load(source)))
    return [*columns, *_untrained(columns), *(FloorColumn(name, floor) for name, floor in floors.FLOORS.items())]


def _untrained(columns: Sequence[EncoderColumn]) -> list[EncoderColumn]:
    networks = dict.fromkeys((column.encoder.architecture, column.encoder.preprocessing) for column in columns)
    found = []
    for number, (architecture, preprocessing) in enumerate(networks, start=1):
        with phase("Initialising an untrained encoder"):
            encoder = Encoder.untrained(architecture, preprocessing)
        name = "untrained" if len(networks) == 1 else f"untrained {name_of(architecture)} {number}"
        found.append(EncoderColumn(name, encoder, is_floor=True))
    return found


def short_names(sources: Sequence[str]) -> list[str]:
    """The shortest end of each path that distinguishes it from the others.

    Raises:
      UserError: one occurs twice.

    Examples:
      >>> short_names(["runs/a/encoder", "runs/b/encoder", "c"])
      ['a/encoder', 'b/encoder', 'c']
    """
    parts = [source.rstrip("/").split("/") for source in sources]
    for source in sources:
        if sources.count(source) > 1:
            raise UserError(f"{source} is named twice: name each encoder once")
    names = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(own[-length:]))
    return names
