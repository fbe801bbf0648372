"""Dynamic weight averaging: slow losses get larger weights (Liu, Johns & Davison, CVPR 2019, arXiv:1803.10704).

Epochs are counted by the step, so a restored state continues correctly.
"""

import jax
import jax.numpy as jnp

TEMPERATURE = 2.0


def init(num_losses: int) -> dict[str, jax.Array]:
    """Initial state: `sum` of the losses in this epoch, and their means in the `last` epoch and the one `before`."""
    return {name: jnp.zeros(num_losses) for name in ("sum", "last", "before")}


def begin_step(state: dict[str, jax.Array], step: jax.Array, steps_per_epoch: int):
    """Weights for this step, and the state to which `end_step` adds the losses.

    Weights are 1 in the first two epochs, then `n softmax(r / 2)` of n losses, with r the mean of a loss in the last
    epoch divided by that in the one before.

    Returns:
      `(weights [n], state)`.
    """
    new_epoch = (step % steps_per_epoch == 0) & (step > 0)
    state = {
        "sum": jnp.where(new_epoch, 0, state["sum"]),
        "last": jnp.where(new_epoch, state["sum"] / steps_per_epoch, state["last"]),
        "before": jnp.where(new_epoch, state["last"], state["before"]),
    }
    ratio = state["last"] / jnp.maximum(state["before"], 1e-12)
    weights = len(ratio) * jax.nn.softmax(ratio / TEMPERATURE)
    return jnp.where(step >= 2 * steps_per_epoch, weights, 1), state


def end_step(state: dict[str, jax.Array], losses: jax.Array) -> dict[str, jax.Array]:
    """The state with this step's unweighted losses [n] added."""
    return state | {"sum": state["sum"] + losses}
