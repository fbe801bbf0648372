"""Views that go through a network in one pass come out as if each had gone through alone, and in its turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from random_inputs import generator

from facejax.models.byol import BYOLNetwork
from facejax.models.fra import FRANetwork
from facejax.models.joint_views import apply_to_views, side_by_side, views_apart

IMAGES, SIDE, CHANNELS = 4, 3, 8
SIZES = dict(embedding_dim=CHANNELS, hidden_dim=16)


class Given(nn.Module):
    """In the place of a backbone: the grid comes in as it goes out."""

    def __call__(self, grid, train):
        return grid


NETWORKS = {
    "byol": BYOLNetwork(Given(), **SIZES),
    "fra": FRANetwork(Given(), num_regions=3, decoder_heads=2, decoder_layers=1, dropout=0.0, **SIZES),
}


@pytest.mark.parametrize(("name", "num_views"), [("byol", 3), ("fra", 2)])
def test_one_pass_is_a_forward_for_each_view(name, num_views, quick_compilation):
    network = NETWORKS[name]
    views = jnp.asarray(generator().normal(size=(num_views, IMAGES, SIDE, SIDE, CHANNELS)), jnp.float32)
    variables = network.init(jax.random.key(0), views[0], train=True, method="predict")
    moving = [collection for collection in variables if collection != "params"]
    options = dict(train=True, method="predict", mutable=moving)

    @jax.jit
    def in_turn(variables):
        outputs = []
        for view in views:
            output, moved = network.apply(variables, view, **options)
            variables = {**variables, **moved}
            outputs.append(output)
        return outputs, {collection: variables[collection] for collection in moving}

    expected = in_turn(variables)
    found = jax.jit(lambda variables: apply_to_views(network, variables, views, **options))(variables)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected)


def test_several_arguments_and_nothing_that_moves():
    class Sum(nn.Module):
        @nn.compact
        def __call__(self, x, y, factor):
            return factor * nn.Dense(3)(x + y)

    x, y = jnp.asarray(generator().normal(size=(2, 2, IMAGES, CHANNELS)), jnp.float32)
    network = Sum()
    variables = network.init(jax.random.key(0), x[0], y[0], factor=1)
    found = apply_to_views(network, variables, x, y, factor=3)
    for view in range(2):
        expected = network.apply(variables, x[view], y[view], factor=3)
        np.testing.assert_allclose(found[view], expected, rtol=1e-5, atol=1e-6)


def test_views_come_apart_as_they_were_put_side_by_side():
    views = generator().normal(size=(3, 5, 2)).astype(np.float32)
    batch = side_by_side(views)
    np.testing.assert_array_equal(batch[:3], views[:, 0])  # those of an image are neighbours
    np.testing.assert_array_equal(jnp.stack(views_apart(batch, 3)), views)
