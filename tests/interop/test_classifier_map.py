import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.interop import classifier as interop
from facejax.models.classifier import AttributeHead, Classifier, LinearHead
from facejax.models.resnet import ResNet

HEADS = {"linear": LinearHead(7), "attributes": AttributeHead(40, (12, 8))}


def random_variables(head, variant="resnet18"):
    network = Classifier(ResNet(variant, width=4), head)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((2, 64, 64, 3)), train=False))
    rng = generator()
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
@pytest.mark.parametrize("head", HEADS)
def test_there_and_back(head, variant):
    variables = random_variables(HEADS[head], variant)
    state_dict = interop.to_official(variables, variant=variant, num_updates=3)
    assert state_dict["bn1.num_batches_tracked"] == 3
    assert ("fc.classifier.1.weight" if head == "attributes" else "fc.weight") in state_dict
    wrapped = {f"module.{key}": array for key, array in state_dict.items()}
    found = interop.from_official(wrapped, variant=variant)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


@pytest.mark.parametrize("key", ["fc.weight", "fc.bias", "bn1.running_mean"])
def test_missing_key(key):
    del (damaged := interop.to_official(random_variables(HEADS["linear"]), variant="resnet18"))[key]
    with pytest.raises(UserError, match=rf"weights\.pth: the key {key} is missing"):
        interop.from_official(damaged, variant="resnet18", source="weights.pth")
