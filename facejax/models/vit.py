"""The vision transformer of DeiT and DINO, and with what CLIP changes, of FaRL: other people's networks on faces."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.attention import attend
from facejax.models.precision import wide

HEAD_WIDTH = 64


class Variant(NamedTuple):
    """What differs between the families.

    Attributes:
      epsilon: of the layer norms.
      input_norm: whether there is a layer norm before the first block, and no bias where patches are embedded.
      quick_gelu: x sigmoid(1.702 x) in the place of GELU.
    """

    epsilon: float
    input_norm: bool
    quick_gelu: bool


VARIANTS = {
    "deit": Variant(epsilon=1e-6, input_norm=False, quick_gelu=False),  # arXiv:2012.12877; DINO, arXiv:2104.14294
    "clip": Variant(epsilon=1e-5, input_norm=True, quick_gelu=True),  # arXiv:2103.00020; FaRL, arXiv:2112.03109
}


class Block(nn.Module):
    """Attention with heads of 64, and an MLP, each behind a layer norm."""

    mlp_width: int
    variant: Variant
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B N D"]) -> Float[Array, "B N D"]:
        """[B, N, D] -> [B, N, D]; sows the class token's attention [B, heads, N] if intermediates are requested."""
        batch, count, width = x.shape
        heads = (batch, count, 3, width // HEAD_WIDTH, HEAD_WIDTH)
        qkv = nn.Dense(3 * width, dtype=self.dtype, name="qkv")(self._norm("norm1")(x)).reshape(heads)
        attended, weights = attend(*jnp.moveaxis(qkv, 2, 0), scale=HEAD_WIDTH**-0.5)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "class_attention", weights[:, :, 0])
        x = x + nn.Dense(width, dtype=self.dtype, name="out")(attended.reshape(batch, count, width))
        hidden = nn.Dense(self.mlp_width, dtype=self.dtype, name="hidden")(self._norm("norm2")(x))
        if self.variant.quick_gelu:
            hidden = hidden * nn.sigmoid(1.702 * hidden)
        else:
            hidden = nn.gelu(hidden, approximate=False)
        return x + nn.Dense(width, dtype=self.dtype, name="output")(hidden)

    def _norm(self, name: str):
        return nn.LayerNorm(self.variant.epsilon, use_fast_variance=False, dtype=self.dtype, name=name)


class VisionTransformer(nn.Module):
    """Dosovitskiy et al., ICLR 2021 (arXiv:2010.11929), pre-norm; for inference.

    Attributes:
      patch_size: side of a patch, pixels.
      grid: patches along a side of the image.
      width: D.
      depth: blocks.
      mlp_width: of the hidden layers.
      variant: a key of `VARIANTS`.
      projection_dim: of the linear layer at the end; 0: there is none.
      dtype: type of the computation; results are float32.
    """

    patch_size: int = 16
    grid: int = 14
    width: int = 768
    depth: int = 12
    mlp_width: int = 3072
    variant: str = "deit"
    projection_dim: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[ArrayLike, "B S S 3"]) -> dict[str, Float[Array, "B _"]]:
        """Normalised images [B, S, S, 3]: the class token `embedding` [B, D], and its `projection` if there is one."""
        variant, zeros = VARIANTS[self.variant], nn.initializers.zeros
        tokens = nn.Conv(
            self.width,
            (self.patch_size,) * 2,
            self.patch_size,
            padding="VALID",
            use_bias=not variant.input_norm,
            dtype=self.dtype,
            name="patch_embedding",
        )(images.astype(self.dtype))
        tokens = tokens.reshape(images.shape[0], -1, self.width)
        class_token = self.param("class_token", zeros, (1, 1, self.width)).astype(self.dtype)
        positions = self.param("positions", zeros, (1, self.grid**2 + 1, self.width)).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(class_token, (images.shape[0], 1, self.width)), tokens], 1) + positions
        if variant.input_norm:
            x = self._norm("input_norm", self.dtype)(x)
        for index in range(self.depth):
            x = Block(self.mlp_width, variant, self.dtype, name=f"block{index}")(x)
        outputs = {"embedding": self._norm("norm", wide(self.dtype))(x[:, 0])}
        if self.projection_dim:
            project = nn.Dense(self.projection_dim, use_bias=False, dtype=wide(self.dtype), name="projection")
            outputs["projection"] = project(outputs["embedding"])
        return outputs

    def _norm(self, name: str, dtype):
        return nn.LayerNorm(VARIANTS[self.variant].epsilon, use_fast_variance=False, dtype=dtype, name=name)
