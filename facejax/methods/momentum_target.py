"""The moving average of a network, which gives another's targets: BYOL's target network, DINO's teacher."""

import dataclasses

import jax
import optax
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class MomentumTarget:
    """Exponential moving average of an online network (BYOL, arXiv:2006.07733, equation 1; DINO, arXiv:2104.14294).

    Attributes:
      network: the module that both are, called with views and whether it trains.
      momentum: schedule of the step.
      training: whether it is in training mode: it drops out, and normalises with the statistics of the batch, which
        move its own. Otherwise it is still, and its statistics follow the online ones (EMAN, arXiv:2101.08482).
    """

    network: nn.Module
    momentum: optax.Schedule
    training: bool

    def forward(self, target: dict, views, rng: jax.Array):
        """The network's outputs for the views, and the target's variables after this forward."""
        if not self.training:
            return self.network.apply(target, views, False), target
        moving = [name for name in target if name != "params"]
        outputs, moved = self.network.apply(target, views, True, rngs={"dropout": rng}, mutable=moving)
        return outputs, target | moved

    def follow(self, target: dict, online: dict, step: jax.Array) -> dict:
        """The target's variables after a step of the online network, whose variables after it are `online`."""
        rate = 1 - self.momentum(step)
        followed = ["params"] if self.training else list(target)
        return target | {name: optax.incremental_update(online[name], target[name], rate) for name in followed}
