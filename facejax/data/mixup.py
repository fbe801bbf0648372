"""Mixup: blends images and labels of two examples."""

import jax
import jax.numpy as jnp


def mixup(key, images, labels, *, alpha: float, probability: float):
    """Blend the batch with itself in reversed order, with one weight for all, like timm's batch mode.

    Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018, arXiv:1710.09412.

    Args:
      key: random key.
      images: float [N, H, W, C].
      labels: int [N].
      alpha: both parameters of the beta distribution of an image's weight.
      probability: that the batch is mixed.

    Returns:
      images, float [N, H, W, C]; the two labels of each, int [N, 2]; their weights, float32 [N, 2], which sum to 1.
    """
    share_key, mixed_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha)
    share = jnp.where(jax.random.bernoulli(mixed_key, probability), share, 1.0)
    images = share * images + (1 - share) * images[::-1]
    shares = jnp.broadcast_to(jnp.stack([share, 1 - share]), (len(labels), 2))
    return images, jnp.stack([labels, labels[::-1]], axis=1), shares
