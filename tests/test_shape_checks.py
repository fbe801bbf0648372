"""Signatures name shapes, which the tests compare with every call; outside of the tests that costs nothing."""

import importlib.machinery
import importlib.util
import inspect
import pkgutil
import typing

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from flax import linen as nn

from facejax import losses, methods, models
from facejax.models.mlp import MLP


def hints(function) -> dict:
    return typing.get_type_hints(inspect.unwrap(function))


def names_a_shape(hint) -> bool:
    """Whether an annotation, or a part of it, is an array with a shape."""
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(names_a_shape(part) for part in typing.get_args(hint))


def networks():
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.name:
                if not name.startswith("_") and "__call__" in vars(value):
                    yield pytest.param(value, id=f"{module.name.rpartition('.')[2]}.{name}")


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_names_the_shapes_of_its_arrays_and_of_its_result(name):
    found = hints(getattr(losses, name))
    assert names_a_shape(found.pop("return")) and sum(map(names_a_shape, found.values())) > 0
    assert not [
        argument
        for argument, hint in found.items()
        if hint in (jax.Array, jax.typing.ArrayLike) and not argument.endswith(("temperature", "momentum"))
    ]


@pytest.mark.parametrize("network", networks())
def test_every_network_names_the_shapes_of_its_input_and_output(network):
    found = hints(network.__call__)
    found.pop("train", None)
    assert names_a_shape(found.pop("return")) and any(map(names_a_shape, found.values()))


@pytest.mark.parametrize("method", methods.METHODS.values(), ids=methods.METHODS)
def test_every_encoder_names_the_shapes_of_images_and_features(method):
    found = hints(method.encode)
    assert names_a_shape(found["images"]) and names_a_shape(found["return"])


def test_a_wrong_shape_is_an_error_here():
    with pytest.raises(jaxtyping.TypeCheckError, match="target"):
        losses.byol(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(jaxtyping.TypeCheckError, match="mix"):
        losses.mixed_info_nce(jnp.zeros((6, 3)), jnp.zeros((6, 5)), jnp.arange(4))
    with pytest.raises(jaxtyping.TypeCheckError, match="labels"):
        jax.eval_shape(losses.cosface, jnp.zeros((2, 3)), jnp.zeros((5, 3)), jnp.zeros((2, 4)))


def test_a_wrong_result_of_a_network_is_an_error_here(monkeypatch):
    monkeypatch.setattr(nn, "relu", lambda x: x[..., None])
    with pytest.raises(jaxtyping.TypeCheckError, match=r"return value of facejax\.models\.mlp\.MLP\.__call__"):
        MLP(4, 2).init(jax.random.key(0), jnp.zeros((3, 5)), False)


def test_without_the_hook_of_the_tests_functions_are_bare():
    assert hasattr(losses.byol, "__wrapped__")
    loader = importlib.machinery.SourceFileLoader("bare", inspect.getsourcefile(inspect.unwrap(losses.byol)))
    bare = importlib.util.module_from_spec(importlib.util.spec_from_loader("bare", loader))
    loader.exec_module(bare)
    assert names_a_shape(bare.byol.__annotations__["target"]) and not hasattr(bare.byol, "__wrapped__")
