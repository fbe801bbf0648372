"""Official STAR checkpoints, there and back. The full key lists are compared in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.interop import star
from facejax.models.hourglass import StackedHourglass

NETWORK = StackedHourglass(num_points=5, edges=((0, 1, 2), (2, 3)), width=128, num_stacks=2, num_levels=2)


@pytest.fixture(scope="module")
def shapes():
    init = functools.partial(NETWORK.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@pytest.fixture
def variables(shapes):
    rng = generator()
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def test_there_and_back(variables):
    state_dict = star.to_official(variables, NETWORK, num_updates=7)
    assert state_dict["pre.0.bn.num_batches_tracked"] == 7
    # width 128: a third block of the stem whose shortcut is never called, as are those of the hourglasses
    assert {"pre.4.skip_layer.conv.weight", "hgs.1.low2.low2.skip_layer.conv.bias"} <= state_dict.keys()
    found = star.from_official({f"module.{key}": array for key, array in state_dict.items()}, NETWORK)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_what_belongs_to_another_network_is_refused(variables):
    state_dict = star.to_official(variables, NETWORK)
    with pytest.raises(UserError, match=r"e2h_transform.weight is not that of this network; .* other edges"):
        star.from_official(state_dict, NETWORK.clone(edges=((0, 1, 2), (2, 4))), source="faces.pkl")
    with pytest.raises(UserError, match=r"faces.pkl: the key features.2.0.bn1.weight is missing"):
        star.from_official(state_dict, NETWORK.clone(num_stacks=3), source="faces.pkl")
    with pytest.raises(UserError, match=r"the key features.1\S+ and \d+ more has no place"):
        star.from_official(state_dict, NETWORK.clone(num_stacks=1))
    del state_dict["pre.0.conv.bias"]
    with pytest.raises(UserError, match=r"pre.0.conv.bias is missing"):
        star.from_official(state_dict, NETWORK)
