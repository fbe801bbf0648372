"""What a training method gives to the loop."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from facejax.train_state import TrainState

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Method:
    """Four pure functions that can be jitted; the training loop knows nothing else of a method.

    Attributes:
      init: `(rng, batch) -> TrainState`. Only shapes and types of the batch matter.
      train_step: `(state, batch, rng) -> (state, metrics)` with `batch["image"]` uint8 [B, S, S, 3] and
        `batch["size"]` int32 [B, 2]. It folds `state.step` into `rng` by itself; metrics are float32 scalars.
      encode: `(variables, images) -> features` for uint8 images [N, S, S, 3]; features are float32 [N, C].
      pictures: `(variables, images) -> {name: uint8 [N, H, W, 3]}`, what is worth looking at.
    """

    init: Callable[[jax.Array, Batch], TrainState]
    train_step: Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
    encode: Callable[[Any, jax.Array], jax.Array]
    pictures: Callable[[Any, jax.Array], dict[str, jax.Array]]
