"""The moving average of a network that provides its targets: BYOL's target network, DINO's teacher."""

import dataclasses
from collections.abc import Callable

import jax
import optax


@dataclasses.dataclass(frozen=True)
class MomentumTarget:
    """Exponential moving average of an online network (BYOL, arXiv:2006.07733, equation 1; DINO, arXiv:2104.14294).

    Attributes:
      momentum: schedule over the steps.
      training: whether it runs in training mode: with dropout, and normalised by the statistics of the batch, which
        update its own. Otherwise it runs in evaluation mode, and its statistics follow the online ones (EMAN,
        arXiv:2101.08482).
    """

    momentum: optax.Schedule
    training: bool

    def forward(self, apply: Callable, target: dict, views, rng: jax.Array):
        """The target's outputs for the views, and its variables after this forward; `apply` is that of the network."""
        if not self.training:
            return apply(target, views, train=False), target
        moving = [name for name in target if name != "params"]
        outputs, moved = apply(target, views, train=True, rngs={"dropout": rng}, mutable=moving)
        return outputs, target | moved

    def follow(self, target: dict, online: dict, step: jax.Array) -> dict:
        """The target's variables after a step of the online network, which then has the variables `online`."""
        rate = 1 - self.momentum(step)
        followed = ["params"] if self.training else list(target)
        return target | {name: optax.incremental_update(online[name], target[name], rate) for name in followed}
