import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.interop import lewel as interop
from facejax.models import lewel
from facejax.models.resnet import ResNet

PREDICTORS = ("predictor", "region_predictor")


def random_variables(variant, mask):
    """Of a small online network, of its target, which has no predictors, and a center."""
    rng = generator()
    network = lewel.LEWELNetwork(ResNet(variant, width=4), mask=mask, embedding_dim=8, hidden_dim=6, num_heads=2)
    images = jnp.zeros((2, 64, 64, 3))
    online = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=False, method="predict"))
    target = {
        collection: {name: tree for name, tree in trees.items() if name not in PREDICTORS}
        for collection, trees in online.items()
    }
    draw = lambda leaf: rng.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(draw, online), jax.tree.map(draw, target), rng.normal(size=8).astype(np.float32)


@pytest.mark.parametrize(
    ("variant", "mask"), [("resnet18", "attn"), ("resnet50", "attn"), ("resnet18", "group"), ("resnet18", "max")]
)
def test_there_and_back(variant, mask):
    variables = random_variables(variant, mask)
    state_dict = interop.to_official(*variables, variant=variant, mask=mask, num_updates=3)
    assert state_dict["online_net.backbone.bn1.num_batches_tracked"] == 6
    assert state_dict["center"].shape == (1, 8)
    wrapped = {f"module.{key}": array for key, array in state_dict.items()}
    wrapped["module.encoder_q.conv1.weight"] = state_dict["online_net.backbone.conv1.weight"]
    found = interop.from_official(wrapped, variant=variant, mask=mask)
    for tree, expected in zip(found, variables, strict=True):
        jax.tree.map(np.testing.assert_array_equal, tree, expected)


def test_another_mask():
    state_dict = interop.to_official(*random_variables("resnet18", "attn"), variant="resnet18")
    with pytest.raises(UserError, match=r"weights\.pth: the key online_net\.neck\.proj_attn\..* has no place"):
        interop.from_official(state_dict, variant="resnet18", mask="group", source="weights.pth")
