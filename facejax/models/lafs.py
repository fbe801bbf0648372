"""The network of LAFS and DINO-face: a transformer on patches and the head for self-distillation."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float

from facejax.models.dino_head import DINOHead
from facejax.models.fvit import FViT


class LAFSNetwork(nn.Module):
    """Sun et al., CVPR 2024 (arXiv:2403.08161), section 3. Student and teacher are the same module.

    Attributes:
      transformer: from tokens to embeddings.
      head: from embeddings to logits.
    """

    transformer: FViT
    head: DINOHead

    def __call__(
        self, views: Sequence[Float[ArrayLike, "B _ _ C"]], train: bool
    ) -> tuple[Float[Array, "V B D"], Float[Array, "V B {self.head.num_outputs}"]]:
        """Embeds views of the same images, one pass for each number of tokens, and applies the head to all at once.

        Args:
          views: arrays of tokens [B, V, n, C], each with the V views of B images that have n tokens.
          train: whether to apply dropout.

        Returns:
          Embeddings [V, B, D], float32, and logits [V, B, K], with V the number of all views.
        """
        embeddings = jnp.concatenate([self._embed_views(tokens, train) for tokens in views])
        return embeddings, self.head(embeddings)

    def _embed_views(self, tokens, train):
        batch, count = tokens.shape[:2]
        # Images come first in [B V, n, C], so a batch split over devices stays in place.
        embeddings = self.transformer(tokens.reshape(batch * count, *tokens.shape[2:]), train)
        return embeddings.reshape(batch, count, -1).swapaxes(0, 1)
