"""The moving average of a network, which gives another's targets: BYOL's target network, DINO's teacher."""

import dataclasses

import jax
import optax
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class MomentumTarget:
    """Exponential moving average of an online network (BYOL, arXiv:2006.07733, equation 1; DINO, arXiv:2104.14294).

    Attributes:
      momentum: schedule of the step.
      training: whether it is in training mode: it drops out, and normalises with the statistics of the batch, which
        move its own. Otherwise it is still, and its statistics follow the online ones (EMAN, arXiv:2101.08482).
    """

    momentum: optax.Schedule
    training: bool

    def forward(self, network: nn.Module, target: dict, views, rng: jax.Array):
        """The outputs for the views of the network, which both are, and the target's variables after this forward."""
        if not self.training:
            return network.apply(target, views, False), target
        moving = [name for name in target if name != "params"]
        outputs, moved = network.apply(target, views, True, rngs={"dropout": rng}, mutable=moving)
        return outputs, target | moved

    def follow(self, target: dict, online: dict, step: jax.Array) -> dict:
        """The target's variables after a step of the online network, whose variables after it are `online`."""
        rate = 1 - self.momentum(step)
        followed = ["params"] if self.training else list(target)
        return target | {name: optax.incremental_update(online[name], target[name], rate) for name in followed}
