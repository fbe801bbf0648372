"""PCL's network: sizes, initial values, and its parts against NumPy and Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from random_inputs import generator

from facejax.models import pcl


@pytest.mark.parametrize(("size", "features"), [(64, 2048), (100, 6272), (112, 6272), (256, 32768)])
def test_feature_sizes(size, features):
    network = pcl.PCLNetwork()
    images = jnp.zeros((2, size, size, 3))

    def run(key):
        variables = network.init(key, images, train=True, method="run_all")
        outputs = network.apply(variables, images)
        return outputs, network.apply(variables, outputs["face"], outputs["pose"], train=False, method="decode")

    outputs, decoded = jax.eval_shape(run, jax.random.key(0))
    assert {name: x.shape for name, x in outputs.items()} == dict.fromkeys(("trunk", "face", "pose"), (2, features))
    assert decoded.shape == (2, 64, 64, 3)
    assert pcl.grid_side(size) ** 2 * 128 == features


def make_network(dtype=jnp.float32):
    return pcl.PCLNetwork(width=16, hidden_dim=96, projection_dim=64, decoder_size=8, dtype=dtype)


@pytest.fixture(scope="module")
def params():
    images = jnp.zeros((2, 32, 32, 3))
    key = jax.random.key(generator().integers(2**31), impl="unsafe_rbg")  # compiles in a fraction of the time
    return jax.jit(lambda key: make_network().init(key, images, train=True, method="run_all"))(key)["params"]


def test_initial_values(params):
    for name, fan_out in (("conv2", 9 * 16), ("conv9", 9 * 64), ("conv10", 9 * 32)):
        conv = params["trunk"][name]["conv"]
        assert abs(conv["kernel"].var() * fan_out / 2 - 1) < 0.15, name
        assert not conv["bias"].any()
    assert not params["face_branch"]["conv1"]["conv"]["bias"].any()
    for layer in (params["pose_projection"]["hidden"], params["decoder"]["linear"], params["decoder"]["conv1"]):
        limit = 1 / np.sqrt(np.prod(layer["kernel"].shape[:-1]))
        for values in (layer["kernel"], layer["bias"]):
            assert 0.9 * limit < np.abs(values).max() <= limit


def test_attention():
    rng = generator()
    x = rng.normal(size=(2, 3, 4, 6))
    module = pcl.LinearAttention()
    params = {
        name: {"kernel": rng.normal(size=(1, 1, 6, 6)), "bias": rng.normal(size=6)} for name in ("g", "theta", "phi")
    }
    found = module.apply({"params": jax.tree.map(jnp.float32, params)}, jnp.float32(x))

    def softmax(z, axis):
        z = np.exp(z - z.max(axis, keepdims=True))
        return z / z.sum(axis, keepdims=True)

    for image, result in zip(x, found, strict=True):
        columns = image.reshape(12, 6).T  # C x N
        g, theta, phi = (params[n]["kernel"][0, 0].T @ columns + params[n]["bias"][:, None] for n in params)
        attended = phi @ softmax(theta, 1).T @ softmax(g, 0)
        y = columns + attended
        np.testing.assert_allclose(result.reshape(12, 6).T, np.where(y > 0, y, 0.1 * y), rtol=2e-5, atol=2e-5)


def test_upsampling_is_pillows():
    x = generator().normal(size=(1, 5, 3, 1)).astype(np.float32)
    found = pcl._upsample(jnp.asarray(x))[0, ..., 0]
    expected = Image.fromarray(x[0, ..., 0]).resize((6, 10), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_bfloat16_is_near_float32(params):
    images = jnp.asarray(generator().random((4, 32, 32, 3), np.float32))
    exact, rough = (
        jax.jit(make_network(dtype).apply)({"params": params}, images) for dtype in (jnp.float32, jnp.bfloat16)
    )
    for name in exact:
        assert rough[name].dtype == jnp.float32
        np.testing.assert_allclose(rough[name], exact[name], atol=0.05 * np.abs(exact[name]).max())
