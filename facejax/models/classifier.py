"""A backbone with a head on its pooled features: for expressions, attributes and other labels."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.batch_norm import BatchNorm
from facejax.models.fvit import FaceTransformer
from facejax.models.initializers import torch_linear
from facejax.models.precision import wide
from facejax.models.resnet import ResNet


class LinearHead(nn.Module):
    """One linear layer, initialised near 0, for linear probes and fine-tuning.

    Attributes:
      num_outputs: K.
      dtype: type of the computation.
    """

    num_outputs: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Float[ArrayLike, "B C"], train: bool) -> Float[Array, "B {self.num_outputs}"]:
        """[B, C] -> logits [B, K], in training and inference alike."""
        init = nn.initializers.normal(0.01)
        return nn.Dense(self.num_outputs, kernel_init=init, dtype=self.dtype, name="output")(features)


class AttributeHead(nn.Module):
    """The head of FRA's fine-tuning on CelebA: linear, batch norm, dropout, ReLU for each hidden layer, then linear.

    Initialised like PyTorch's layers.

    Attributes:
      num_outputs: A, attributes.
      hidden_dims: widths of the hidden layers.
      dropout: rate; training needs the random stream `dropout` unless it is 0.
      dtype: type of the computation.
    """

    num_outputs: int = 40
    hidden_dims: tuple[int, ...] = (512, 256)
    dropout: float = 0.2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B C"], train: bool) -> Float[Array, "B {self.num_outputs}"]:
        """[B, C] -> logits [B, A]."""
        for index, width in enumerate(self.hidden_dims):
            x = torch_linear(width, x.shape[-1], dtype=self.dtype, name=f"hidden{index}")(x)
            x = BatchNorm(dtype=self.dtype, name=f"norm{index}")(x, train)
            x = nn.relu(nn.Dropout(self.dropout, deterministic=not train)(x))
        return torch_linear(self.num_outputs, x.shape[-1], dtype=self.dtype, name="output")(x)


def head(num_outputs: int, hidden_dims: tuple[int, ...], dtype, dropout: float = 0.0) -> LinearHead | AttributeHead:
    """A linear head; with hidden layers, `AttributeHead`."""
    return AttributeHead(num_outputs, hidden_dims, dropout, dtype) if hidden_dims else LinearHead(num_outputs, dtype)


class Classifier(nn.Module):
    """A backbone whose features a head turns into logits.

    Attributes:
      backbone: returns a grid [B, h, w, C], which is pooled, or features [B, C].
      head: a module, called as `head(features, train)`.
    """

    backbone: ResNet | FaceTransformer
    head: nn.Module

    def __call__(self, images: Float[ArrayLike, "B H W 3"], train: bool) -> dict[str, Float[Array, "B _"]]:
        """Normalised images [B, H, W, 3] -> `features` [B, C] and `logits` [B, K], float32."""
        features = self.backbone(images, train)
        if features.ndim == 4:
            features = features.mean((1, 2), dtype=wide(self.backbone.dtype))
        return {"features": features, "logits": self.head(features, train).astype(features.dtype)}
