"""Where arrays lie on the mesh, with the devices that there are and with eight virtual ones."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from facejax import sharding
from facejax.errors import UserError


class FakeDevices:
    """A mesh stands for eight devices where only the arithmetic of shapes is asked for."""

    def __init__(self, **axes):
        self.shape = axes


def spec(shape, rule, mesh, name="params/head/kernel"):
    return sharding._partition(mesh, name, shape, "head", rule)


def test_mesh_takes_all_devices_for_the_open_axis():
    mesh = sharding.make_mesh({"data": -1, "model": 1})
    assert mesh.shape == {"data": jax.device_count(), "model": 1}


@pytest.mark.parametrize("axes", [{"data": 3 * jax.device_count()}, {"data": -1, "model": -1}, {"data": 0}])
def test_mesh_that_does_not_fit_is_refused(axes):
    with pytest.raises(UserError, match=r"does not fit \d+ devices"):
        sharding.make_mesh(axes)


def test_mesh_needs_a_data_axis():
    with pytest.raises(UserError, match="'data'"):
        sharding.make_mesh({"model": -1})


def test_batch_must_divide_and_the_message_offers_one_that_does():
    sharding.check_batch_size(64, FakeDevices(data=8))
    with pytest.raises(UserError, match=r"config.batch_size = 60 .* 8 devices .* use 64"):
        sharding.check_batch_size(60, FakeDevices(data=8))


def test_fsdp_splits_the_longest_dimension_that_divides():
    mesh = FakeDevices(data=8)
    assert spec((3, 3, 512, 1000), "fsdp", mesh) == PartitionSpec(None, None, None, "data")
    assert spec((3, 3, 512, 1001), "fsdp", mesh) == PartitionSpec(None, None, "data", None)
    assert spec((999, 1001), "fsdp", mesh) == PartitionSpec()
    assert spec((64, 8), "fsdp", mesh) == PartitionSpec()  # small


def test_rules_are_checked_against_mesh_and_shape():
    mesh = FakeDevices(data=2, model=4)
    assert spec((12, 8), ("model", None), mesh) == PartitionSpec("model", None)
    with pytest.raises(UserError, match="axis 'expert'"):
        spec((12, 8), ("expert",), mesh)
    with pytest.raises(UserError, match="splits a dimension of 10"):
        spec((10, 8), ("model",), mesh)
    with pytest.raises(UserError, match="does not fit"):
        spec((8,), (None, "model"), mesh)


def test_first_matching_rule_decides_and_the_rest_is_replicated():
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("data",))
    state = {
        "params": {
            "head": {"kernel": jax.ShapeDtypeStruct((8, 4), "float32")},
            "scale": jax.ShapeDtypeStruct((), "float32"),
        }
    }
    rules = (("kernel", ("data",)), ("params", (None, "data")))
    placed = sharding.state_shardings(mesh, state, rules)
    assert placed["params"]["head"]["kernel"].spec == PartitionSpec("data")
    assert placed["params"]["scale"].spec == PartitionSpec()
