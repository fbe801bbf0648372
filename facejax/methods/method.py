"""What a training method gives to the loop."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from facejax.pictures import Caption
from facejax.train_state import TrainState

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Method:
    """Four pure functions that can be jitted, and what the loop must know besides.

    Attributes:
      init: `(rng, batch) -> TrainState`. Only shapes and types of the batch matter.
      train_step: `(state, batch, rng) -> (state, metrics)` with `batch["image"]` uint8 [B, S, S, 3] and
        `batch["size"]` int32 [B, 2]. It folds `state.step` into `rng` by itself; metrics are float32 scalars.
      encode: `(variables, images) -> features` for uint8 images [N, S, S, 3]; features are float32 [N, C].
      pictures: `(variables, images) -> {name: uint8 [N, H, W, 3]}`, what is worth looking at.
      captions: name of a picture -> what explains it.
      fields: fields of a record that the batch has to hold.
      num_classes: label field -> number of classes that the method was built for; labels are below it.
      start_from: `state -> state`, called once outside of jit on a fresh state: puts weights from files that the config
        names in the place of random ones, each on the devices where it belongs.
      check_start: raises `UserError` where weights that the config names are not there, of another kind, or do not fit;
        it reads no more than it must for that, and computes nothing.
      evaluated: `state -> variables` for `encode` and `pictures`: those of the online network, or its teacher's.
    """

    init: Callable[[jax.Array, Batch], TrainState]
    train_step: Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
    encode: Callable[[Any, jax.Array], jax.Array]
    pictures: Callable[[Any, jax.Array], dict[str, jax.Array]]
    captions: Mapping[str, Caption] = dataclasses.field(default_factory=dict)
    fields: tuple[str, ...] = ("image",)
    num_classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    start_from: Callable[[TrainState], TrainState] = lambda state: state
    check_start: Callable[[], None] = lambda: None
    evaluated: Callable[[TrainState], Any] = lambda state: state.variables
