"""The network of BYOL: a backbone, a projector and a predictor."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.initializers import KAIMING_FAN_OUT
from facejax.models.mlp import MLP
from facejax.models.precision import wide


class BYOLNetwork(nn.Module):
    """Grill et al., NeurIPS 2020 (arXiv:2006.07733), section 3. Online and target network are the same module.

    The target's variables are the online ones without `predictor`.

    Attributes:
      backbone: returns a grid [N, h, w, C]; has the same `dtype`.
      embedding_dim: D.
      hidden_dim: hidden width of projectors and predictors.
      dtype: type of the computation; embeddings are float32 at least.
      mlp_init: initial kernels of projectors and predictors.
    """

    backbone: nn.Module
    embedding_dim: int = 256
    hidden_dim: int = 4096
    dtype: DTypeLike = jnp.float32
    mlp_init: nn.initializers.Initializer = KAIMING_FAN_OUT

    def setup(self):
        """Declares projector and predictor."""
        self.projector, self.predictor = self.mlp(), self.mlp()

    def mlp(self) -> MLP:
        """A new projector or predictor."""
        return MLP(self.hidden_dim, self.embedding_dim, self.dtype, self.mlp_init)

    def __call__(self, images: Float[ArrayLike, "N H W C"], train: bool) -> dict[str, Float[Array, "N ..."]]:
        """Embeds normalised images [N, H, W, 3]: `global` [N, D], not normalised."""
        features = self.backbone(images, train).mean((1, 2), dtype=wide(self.dtype))
        return {"global": self.projector(features, train).astype(wide(self.dtype))}

    def predict(self, images: Float[ArrayLike, "N H W C"], train: bool) -> dict[str, Float[Array, "N ..."]]:
        """Like `__call__`, with the online network's prediction, `global_prediction` [N, D]."""
        outputs = self(images, train)
        return {**outputs, "global_prediction": self.predictor(outputs["global"], train).astype(wide(self.dtype))}
