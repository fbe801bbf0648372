"""An encoder that was fine-tuned with labels, and its head."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from pydantic.dataclasses import dataclass

from facejax.architectures.architecture import SETTINGS, Architecture
from facejax.architectures.part_fvit import PartFViT
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.models.classifier import Classifier, head


@dataclass(frozen=True, config=SETTINGS)
class TunedClassifier(Architecture):
    """Kinds `features` [N, C] of the encoder and `logits` [N, K].

    Attributes:
      encoder: what was fine-tuned.
      num_classes: K, classes or attributes.
      hidden_dims: widths of the head's hidden layers; (): it is linear.
    """

    kinds: ClassVar[tuple[str, ...]] = ("features", "logits")

    encoder: PooledResNet | PartFViT
    num_classes: int
    hidden_dims: tuple[int, ...] = ()

    @functools.cached_property
    def network(self) -> Classifier:
        """The module."""
        return Classifier(self.encoder.trunk, head(self.num_classes, self.hidden_dims, jnp.dtype(self.encoder.dtype)))

    def init(self, rng, images):
        """Variables `{"params": {"backbone", "head"}, "batch_stats"}`."""
        return self.network.init(rng, images, False)

    def encode(self, variables, images) -> dict[str, jax.Array]:
        """What the network makes of the images."""
        return self.network.apply(variables, images, False)
