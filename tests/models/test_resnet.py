import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.models import resnet


def shapes(variant, size=64, **kwargs):
    network = resnet.ResNet(variant, **kwargs)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda images: network.init(jax.random.key(0), images, False), images)
    grid = jax.eval_shape(lambda variables, images: network.apply(variables, images, False), variables, images)
    return network, variables, grid


# Published sizes without the 1000-way classifier: torchvision's networks, and the 94 M of the double-width ResNet-50.
@pytest.mark.parametrize(
    ("variant", "channels", "count"),
    [
        ("resnet18", 512, 11_689_512 - 513_000),
        ("resnet34", 512, 21_797_672 - 513_000),
        ("resnet50", 2048, 25_557_032 - 2_049_000),
        ("resnet101", 2048, 44_549_160 - 2_049_000),
        ("resnet50x2", 4096, 93_907_072),
    ],
)
def test_published_sizes(variant, channels, count):
    network, variables, grid = shapes(variant)
    assert grid.shape == (2, 2, 2, channels)
    assert network.channels == channels
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_width_scales_every_layer():
    network, variables, grid = shapes("resnet18", width=16)
    assert network.channels == grid.shape[-1] == 128
    assert variables["params"]["conv1"]["kernel"].shape == (7, 7, 3, 16)


@pytest.mark.parametrize(("size", "cells"), [(224, 7), (96, 3), (33, 2), (32, 1)])
def test_grid(size, cells):
    assert shapes("resnet50", size)[2].shape[1:3] == (cells, cells)


def test_stride_is_on_the_3x3_convolution():
    """v1.5: a corner that only the 1x1 convolution of v1 would skip changes the result."""
    block = resnet.Bottleneck(4, 2, jnp.float32)
    x = jax.random.normal(jax.random.key(np.random.randint(2**31)), (1, 4, 4, 16))
    variables = jax.jit(lambda x: block.init(jax.random.key(0), x, False))(x)
    without_shortcut = jax.tree.map(jnp.copy, variables)
    without_shortcut["params"]["downsample_conv"]["kernel"] *= 0
    odd = x.at[0, 1::2, 1::2].add(1.0)  # cells at odd rows and columns
    apply = jax.jit(lambda x: block.apply(without_shortcut, x, False))
    assert not np.allclose(apply(x), apply(odd))


def test_initial_values_are_kaiming_normal_fan_out():
    block = resnet.BasicBlock(128, 1, jnp.float32)
    variables = jax.jit(lambda key: block.init(key, jnp.zeros((1, 2, 2, 128)), False))(jax.random.key(0))
    np.testing.assert_allclose(variables["params"]["conv1"]["kernel"].std(), np.sqrt(2 / (128 * 9)), rtol=0.02)
