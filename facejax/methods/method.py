"""The interface of a training method for the loop, evaluations and users of the trained network."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from jaxtyping import Array, ArrayLike, Float, Real, UInt8

from facejax.architectures import Architecture
from facejax.config_schema.experiment import Experiment
from facejax.pictures import Caption
from facejax.preprocessing import Preprocessing
from facejax.train_state import TrainState

Batch = dict[str, jax.Array]


class Method(abc.ABC):
    """A training method, bound to a config. `init`, `train_step`, `encode` and `pictures` are pure and can be jitted.

    What it learns is an encoder: `architecture`, `preprocessing` and, of a state, `eval_variables`.

    Args:
      config: an `ml_collections.ConfigDict` that `facejax.config_schema.check.check` has passed.
      steps_per_epoch: steps per epoch, the unit of the schedules.
      total_steps: steps of the whole run.

    Attributes:
      schema: what its config may hold.
    """

    schema: ClassVar[type[Experiment]]
    needs_every_class = False  # whether a class without training images is an error, and not only worth a warning

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        self.config, self.steps_per_epoch, self.total_steps = config, steps_per_epoch, total_steps

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of a record that the batch must contain."""
        return ("image",)

    @property
    def num_classes(self) -> Mapping[str, int]:
        """Label field -> number of classes that the method is built for; labels must be smaller."""
        return {}

    @property
    def streams(self) -> tuple[int, ...]:
        """Records of each update of a step, if they are drawn separately; (): a batch is drawn as one."""
        return ()

    def check_batch(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> None:  # noqa: B027 - most take any images
        """Raises `UserError` for records whose fields have other shapes than the method wants."""

    @abc.abstractmethod
    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """An initial state. Only shapes and types of the batch matter."""

    @abc.abstractmethod
    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step, and its metrics: float32 scalars, including `total`.

        `batch["image"]` is uint8 [B, S, S, 3], `batch["size"]` int32 [B, 2]. `state.step` is folded into `rng` here.
        """

    @property
    @abc.abstractmethod
    def architecture(self) -> Architecture:
        """The network that is used after training."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of images for that network."""
        mean, std = tuple(self.config.mean), tuple(self.config.std)
        return Preprocessing(self.config.image_size, mean=mean, std=std)

    def eval_variables(self, state: TrainState) -> Any:
        """Variables of that network, possibly with others: those of the online network, or of its teacher.

        This only selects leaves of the state and computes nothing.
        """
        return state.variables

    def encode(self, variables, images: Real[ArrayLike, "N S S 3"]) -> dict[str, Float[Array, "N _"]]:
        """`{kind: features}`, float32 [N, D], of uint8 images [N, S, S, 3]."""
        return self.architecture.encode(variables, self.preprocessing.normalize(images))

    def pictures(self, variables, images: UInt8[ArrayLike, "N S S 3"]) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """`{name: uint8 [N, H, W, 3]}`, pictures for a person to look at."""
        return self.architecture.pictures(variables, self.preprocessing.normalize(images), images)

    @property
    def captions(self) -> Mapping[str, Caption]:
        """Name of a picture -> its explanation."""
        return self.architecture.captions

    def start_from(self, state: TrainState) -> TrainState:
        """Called once outside of jit: replaces random weights of an initial state by those that the config names.

        Each array stays on its devices.
        """
        return state

    def check_start(self) -> None:  # noqa: B027 - nothing to check is the usual case
        """Raises `UserError` where weights that the config names do not exist, are of another kind, or do not fit.

        This reads no more than necessary and computes nothing.
        """
