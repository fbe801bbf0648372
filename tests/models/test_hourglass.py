"""Parts of the stacked hourglass by themselves. The network's numbers are checked in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.models import hourglass
from facejax.models.hourglass import StackedHourglass

pytestmark = pytest.mark.usefixtures("quick_compilation")
EDGES = ((0, 1, 2), (2, 3))  # point 4 is on none
NETWORK = StackedHourglass(num_points=5, edges=EDGES, width=8, num_stacks=2, num_levels=1)


@pytest.fixture
def variables():
    rng = generator()
    shapes = jax.eval_shape(functools.partial(NETWORK.init, train=False), jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.2).astype(np.float32), shapes)


def test_points_on_several_edges_sum_them_and_points_on_none_have_a_bias():
    weights, bias = hourglass.edge_weights(EDGES, 5)
    assert weights.tolist() == [[1, 1, 1, 0, 0], [0, 0, 1, 1, 0]] and bias.tolist() == [0, 0, 0, 0, 1]


def test_coordinates_are_row_then_column_and_once_more_where_the_last_heatmap_is_high():
    x = generator().normal(size=(2, 3, 5, 4)).astype(np.float32)
    heatmaps = np.zeros((2, 3, 5, 2), np.float32)
    heatmaps[1, 2, 0, 1], heatmaps[0, 0, 0, 0], heatmaps[0, 1, 1, 1] = 0.06, 9, 0.04
    found = hourglass._with_coordinates(x, heatmaps)
    assert found.shape == (2, 3, 5, 9) and hourglass._with_coordinates(x).shape == (2, 3, 5, 7)
    np.testing.assert_array_equal(found[..., :4], x)
    np.testing.assert_allclose(found[0, :, 2, 4], [-1, 0, 1])
    np.testing.assert_allclose(found[1, 1, :, 5], [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(found[0, 0, :, 6] * np.sqrt(2), np.hypot(-1, [-1, -0.5, 0, 0.5, 1]), rtol=1e-6)
    boundary = np.zeros((2, 3, 5, 2))
    boundary[1, 2, 0] = [1, -1]
    np.testing.assert_allclose(found[..., 7:], boundary)


def test_soft_argmax_is_the_mean_and_finite_where_there_is_nothing():
    heatmaps = np.zeros((1, 9, 5, 3), np.float32)
    heatmaps[0, 2, 4, 0] = 7
    heatmaps[0, 8, [0, 1], 1] = 1, 3
    points = hourglass.soft_argmax(heatmaps)
    np.testing.assert_allclose(points[0], [[1, -0.5], [-0.625, 1], [0, 0]], atol=1e-7)


def test_maps_and_landmarks_of_every_stack(variables):
    images = generator().normal(size=(3, 16, 24, 3)).astype(np.float32)
    outputs, changed = jax.jit(functools.partial(NETWORK.apply, train=True, mutable=["batch_stats"]))(variables, images)
    shapes = {name: array.shape for name, array in outputs.items()}
    maps = {"heatmaps": (2, 3, 5, 4, 6), "pointmaps": (2, 3, 5, 4, 6), "edgemaps": (2, 3, 2, 4, 6)}
    assert shapes == {"landmarks": (2, 3, 5, 2)} | maps
    share = outputs["heatmaps"] / outputs["heatmaps"].sum((3, 4), keepdims=True)
    x, y = np.linspace(-1, 1, 6), np.linspace(-1, 1, 4)[:, None]
    means = np.stack([(share * x).sum((3, 4)), (share * y).sum((3, 4))], -1)
    np.testing.assert_allclose(outputs["landmarks"], means, atol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((outputs, changed)))
    assert outputs["heatmaps"].min() == 0 <= outputs["edgemaps"].min() < outputs["edgemaps"].max() <= 1


def test_maps_are_float32_in_a_bfloat16_network(variables):
    narrow = NETWORK.clone(dtype=jnp.bfloat16)
    outputs = jax.eval_shape(functools.partial(narrow.apply, train=False), variables, jnp.zeros((1, 16, 16, 3)))
    assert {array.dtype for array in outputs.values()} == {jnp.dtype("float32")}


def test_weights_and_biases_start_as_pytorchs():
    block = hourglass.ResidualBlock(32, jnp.float32)
    params = block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 6)), train=False)["params"]
    for name, fan_in in (("conv1", 6), ("conv2", 16 * 9), ("conv3", 16), ("shortcut", 6)):
        bound = 1 / np.sqrt(fan_in)
        for array in (params[name]["kernel"], params[name]["bias"]):
            assert bound * 0.6 < np.abs(array).max() <= bound and array.min() < 0 < array.max()
            assert np.std(array) == pytest.approx(bound / np.sqrt(3), rel=0.5)
