import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.interop import fra as interop
from facejax.interop import torch_layout
from facejax.methods import fra
from facejax.models.resnet import VARIANTS


def abstract_variables(variant):
    """Shapes of a small network's variables: the target's are the online ones without predictors."""
    model = {
        "backbone": variant,
        "width": 4,
        "output_stride": 32,
        "embedding_dim": 8,
        "hidden_dim": 6,
        "num_regions": 3,
        "decoder_layers": 1,
        "decoder_heads": 2,
        "dropout": 0.0,
        "heatmap_temperature": 1.0,
        "prototype_momentum": 0.9,
    }
    network = fra.FRA.create_network(ml_collections.ConfigDict({"dtype": "float32", "model": model}))
    images = jnp.zeros((2, 64, 64, 3))
    online = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True, method="predict"))
    return online, fra.FRA.without_predictors(online)


def random_like(tree, rng):
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), tree)


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back(variant):
    rng = generator()
    online, target = (random_like(tree, rng) for tree in abstract_variables(variant))
    state_dict = interop.to_official(online, target, variant=variant, decoder_layers=1, num_updates=3)
    assert state_dict["online_net.backbone.bn1.num_batches_tracked"] == 6
    wrapped = {f"module.{key}": array for key, array in state_dict.items()}
    wrapped["module.encoder_q.conv1.weight"] = state_dict["online_net.backbone.conv1.weight"]
    found = interop.from_official(wrapped, variant=variant, decoder_layers=1)
    for tree, expected in zip(found, (online, target), strict=True):
        jax.tree.map(np.testing.assert_array_equal, tree, expected)


@pytest.fixture(scope="module")
def small():
    online, target = (random_like(tree, generator()) for tree in abstract_variables("resnet18"))
    return interop.to_official(online, target, variant="resnet18", decoder_layers=1)


def load(state_dict):
    return interop.from_official(state_dict, variant="resnet18", decoder_layers=1, source="weights.pth")


def test_missing_key(small):
    del (damaged := dict(small))["target_net.neck.proto"]
    with pytest.raises(UserError, match=r"weights\.pth: the key target_net\.neck\.proto is missing"):
        load(damaged)


def test_left_over_key(small):
    with pytest.raises(UserError, match=r"the key online_net\.backbone\.fc\.bias and 1 more has no place"):
        load({**small, "online_net.backbone.fc.bias": np.ones(1), "online_net.backbone.fc.weight": np.ones(1)})


def test_wrong_number_of_axes(small):
    with pytest.raises(UserError, match=r"predictor\.mlp\.0\.weight has shape \(6,\)"):
        load({**small, "predictor.mlp.0.weight": np.ones(6)})


def test_center_must_be_zero(small):
    with pytest.raises(UserError, match="center is not 0"):
        load({**small, "center": np.ones((1, 3))})


def test_variables_of_another_model(small):
    online, target = load(small)
    del online["params"]["projector"]["output"]["kernel"]
    with pytest.raises(UserError, match=r"params/projector/output/kernel is missing"):
        interop.to_official(online, target, variant="resnet18", decoder_layers=1)


def test_packed_attention_keeps_query_key_value_apart():
    rng = generator()
    packed, x = rng.normal(size=(12, 4)), rng.normal(size=4)
    ours = torch_layout.PACKED.to_ours(packed)
    for part in range(3):
        np.testing.assert_allclose(x @ ours[part], packed[4 * part : 4 * part + 4] @ x)
    np.testing.assert_array_equal(torch_layout.PACKED.to_torch(ours), packed)
