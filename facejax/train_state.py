"""Everything that training changes, as one pytree: it is saved, and suffices to resume."""

from typing import Any

import jax
from flax import struct


@struct.dataclass
class TrainState:
    """State of one training run.

    Attributes:
      step: number of finished updates, int32 scalar.
      params: parameters of the online network, a nested dict of float32 arrays.
      statistics: its other Flax collections by name, such as `{"batch_stats": ..., "prototypes": ...}`.
      target: variables of the momentum network, `{"params": ..., **statistics}`, or None.
      opt_state: state of the optimizer.
      frozen: variables of networks that are never trained, by name.
      center: running mean of a teacher's outputs, or None.
    """

    step: jax.Array
    params: Any
    statistics: dict[str, Any]
    target: Any
    opt_state: Any
    frozen: dict[str, Any] = struct.field(default_factory=dict)
    center: jax.Array | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the online network, for Flax's `apply`."""
        return {"params": self.params, **self.statistics}
