"""Depth-wise convolution, quick on CPUs too: there as a sum of shifted images, with a gradient of its own."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from facejax.models.initializers import KAIMING_FAN_OUT


class Depthwise(nn.Module):
    """Convolution of every channel with a kernel of its own, PyTorch's padding, no bias."""

    kernel: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B h w C"]:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C]."""
        kernel = self.param("kernel", KAIMING_FAN_OUT, (self.kernel, self.kernel, 1, x.shape[-1]))
        # XLA's grouped convolutions are up to 200 times slower than sums of shifted images on CPUs.
        as_sum = functools.partial(_sum_of_shifted, self.stride)
        return lax.platform_dependent(x, kernel.astype(self.dtype), cpu=as_sum, default=self._as_convolution)

    def _as_convolution(self, x, kernel):
        padding = [(self.kernel // 2,) * 2] * 2
        return lax.conv_general_dilated(
            x,
            kernel,
            (self.stride,) * 2,
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_of_shifted(stride: int, x, kernel):
    size, padded = len(kernel), _pad(x, len(kernel) // 2)
    height, width = (-(-extent // stride) for extent in x.shape[1:3])
    return sum(
        padded[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        * kernel[i, j, 0]
        for i in range(size)
        for j in range(size)
    )


def _sum_of_shifted_forward(stride, x, kernel):
    return _sum_of_shifted(stride, x, kernel), (x, kernel)


def _sum_of_shifted_backward(stride, saved, gradient):
    """One shift after the other in a loop, whose operands are computed once: XLA fuses unrolled ones with what comes
    before them, and computes that anew for each shift (4 times slower in all, 10 times to compile)."""
    x, kernel = saved
    size, margin = len(kernel), len(kernel) // 2
    padded = _pad(x, margin)
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *[(0, 0, stride - 1)] * 2, (0, 0, 0)))

    def shift(gathered, tap):
        index, weights = tap
        corner = (0, index // size, index % size, 0)
        seen = lax.dynamic_slice(padded, corner, spread.shape)[:, ::stride, ::stride]
        moved = lax.dynamic_slice(gathered, corner, spread.shape) + spread * weights
        # The sum over the batch is left for later: where that is split, it is a reduction over devices.
        return lax.dynamic_update_slice(gathered, moved, corner), (seen * gradient).sum((1, 2))

    taps = jnp.arange(size**2), kernel.reshape(size**2, -1)
    gathered, of_kernel = lax.scan(shift, jnp.zeros_like(padded), taps)
    return gathered[:, margin:-margin, margin:-margin], of_kernel.sum(1).reshape(kernel.shape)


def _pad(x, margin: int):
    return jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))


_sum_of_shifted.defvjp(_sum_of_shifted_forward, _sum_of_shifted_backward)
