"""Official PCL checkpoints there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.interop import pcl as interop
from facejax.models import pcl


@pytest.fixture(scope="module")
def variables():
    """A small network, with random values everywhere."""
    network = pcl.PCLNetwork(width=4, hidden_dim=12, projection_dim=6, decoder_size=16)
    images = jnp.zeros((2, 32, 32, 3))
    shapes = jax.eval_shape(lambda key: network.init(key, images, train=True, method="run_all"), jax.random.key(0))
    rng = generator()
    return jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_round_trip(variables):
    official = interop.to_official(variables, num_updates=7)
    counts = {key: int(value) for key, value in official.items() if key.endswith("num_batches_tracked")}
    assert (counts["exp_fc.3.num_batches_tracked"], counts["pose_fc.3.num_batches_tracked"]) == (7, 14)
    assert counts["decoder.model.3.num_batches_tracked"] == 28
    assert_same(interop.from_official({f"module.{key}": value for key, value in official.items()}), variables)


def test_encoder_alone(variables):
    parts = ("trunk", "face_branch", "pose_branch")
    encoder = {"params": {part: variables["params"][part] for part in parts}}
    official = interop.to_official(encoder)
    assert all(key.startswith("encoder.") for key in official)
    assert_same(interop.from_official(official), encoder)


def test_flattened_weights_read_channels_first():
    """The weight of channel c at row y, column x."""
    grid = generator().normal(size=(2, 2, 3))  # H, W, C
    weight = generator().normal(size=(5, 12))  # [out, C H W]
    expected = weight @ grid.transpose(2, 0, 1).ravel()
    layout = interop.flattened(3)
    np.testing.assert_allclose(grid.ravel() @ layout.to_ours(weight), expected)
    np.testing.assert_array_equal(layout.to_torch(layout.to_ours(weight)), weight)


def test_missing_key(variables):
    official = interop.to_official(variables)
    del official["exp_fc.2.bias"]
    with pytest.raises(UserError, match=r"run\.pth: the key exp_fc\.2\.bias is missing"):
        interop.from_official(official, source="run.pth")
