import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from random_inputs import generator

from facejax.models import initializers, lewel
from facejax.models.resnet import ResNet

CHANNELS, DIM, HEADS = 32, 8, 2  # of the grid, of the embeddings


class Given(nn.Module):
    """In the place of a backbone: the grid comes in as it goes out, so that only the rest is compiled."""

    def __call__(self, grid, train):
        return grid


def network(mask="attn", **settings):
    settings = {"backbone": Given(), "embedding_dim": DIM, "hidden_dim": 6, "num_regions": 3, **settings}
    return lewel.LEWELNetwork(mask=mask, **{"num_heads": HEADS, **settings})


def initialize(net, *shape):
    key = jax.random.key(0, impl="unsafe_rbg")  # compiles sooner
    return jax.jit(lambda: net.init(key, jnp.zeros(shape), train=False, method="predict"))()


def draw_grids(*shape):
    return jnp.asarray(generator().normal(size=(*shape, 2, 3, CHANNELS)), jnp.float32)


@pytest.mark.parametrize(
    ("mask", "regions", "heatmaps"), [("attn", 3, (3,)), ("group", DIM // HEADS, (2, 4)), ("max", DIM // HEADS, (1, 4))]
)
def test_shapes(mask, regions, heatmaps):
    net = network(mask, backbone=ResNet("resnet18", width=4))
    images = jax.ShapeDtypeStruct((5, 64, 96, 3), jnp.float32)
    variables = jax.eval_shape(lambda: initialize(net, *images.shape))
    found = jax.eval_shape(functools.partial(net.apply, train=False, method="predict"), variables, images)
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes["features"] == (5, CHANNELS)
    assert shapes["global"] == shapes["global_prediction"] == (5, DIM)
    assert shapes["regions"] == shapes["region_prediction"] == (5, regions, DIM)
    assert shapes["heatmaps"] == (5, 2, 3, *heatmaps)
    assert ("dots" in shapes) == ("mask_embeddings" in shapes) == (mask == "attn")
    assert all(array.dtype == jnp.float32 for array in found.values())


@pytest.mark.parametrize("mask", lewel.MASKS)
def test_regions_are_those_of_the_image_alone(mask):
    """Nothing is averaged over the batch, and heatmaps are shares: of a cell or of the grid."""
    net, grids = network(mask), draw_grids(3)
    variables = initialize(net, *grids.shape)
    apply = jax.jit(functools.partial(net.apply, train=False))
    many, one = apply(variables, grids), apply(variables, grids[1:2])
    for name, array in one.items():
        np.testing.assert_allclose(array[0], many[name][1], rtol=1e-3, atol=1e-4, err_msg=name)
    total = many["heatmaps"].sum(-1) if mask == "attn" else many["heatmaps"].sum((1, 2))
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_group_weighs_each_part_of_the_channels_with_a_head_of_its_own():
    """Element by element, as the definition reads; `max` takes for all channels the larger of the heads' maps."""
    rng = generator()
    grid, pixels = rng.normal(size=(2, 2, 3, CHANNELS)), rng.normal(size=(2, 2, 3, DIM))
    regions, part = DIM // HEADS, CHANNELS // HEADS
    unit = pixels / np.linalg.norm(pixels, axis=-1, keepdims=True)
    maps = np.stack([unit[..., head * regions : (head + 1) * regions] for head in range(HEADS)], 3)

    def shares(logits):
        exponentials = np.exp(logits)
        return exponentials / exponentials.sum((1, 2), keepdims=True)

    for mask in ("group", "max"):
        net = network(mask)
        method = lewel.LEWELNetwork._regions_of_channels
        found, _ = net.apply({}, jnp.asarray(grid), jnp.asarray(pixels), method=method)
        for region in range(regions):
            for channel in range(CHANNELS):
                logits = maps[..., channel // part, region] if mask == "group" else maps[..., region].max(-1)
                expected = (shares(logits) * grid[..., channel]).sum((1, 2))
                np.testing.assert_allclose(found[:, region, channel], expected, rtol=1e-4, atol=1e-5)


def test_initial_values_of_projectors():
    """Kaiming normal as in FRA, or PyTorch's default, which the baseline of FRA's repository keeps."""
    kaiming, torch = (
        initialize(network("max", hidden_dim=256, **settings), 1, 2, 3, CHANNELS)["params"]["projector"]["hidden"][
            "kernel"
        ]
        for settings in ({}, {"mlp_init": initializers.TORCH_DEFAULT})
    )
    np.testing.assert_allclose(kaiming.std(), np.sqrt(2 / 256), rtol=0.05)
    np.testing.assert_allclose(torch.std(), np.sqrt(1 / 3 / CHANNELS), rtol=0.05)
    assert np.abs(torch).max() <= 1 / np.sqrt(CHANNELS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mask": "mean"}, "mask: 'mean' is none of attn, group, max"), ({"num_heads": 3}, "num_heads: 3 heads do not")],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: initialize(network(**settings), 1, 2, 3, CHANNELS))
