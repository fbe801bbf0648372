"""The device mesh, and the placement of arrays on it."""

import math
import re

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from facejax.errors import UserError

FSDP = "fsdp"
SMALLEST_SHARDED = 2**14  # elements: below this, splitting an array costs more in messages than it saves in memory


def make_mesh(axes: dict[str, int]) -> Mesh:
    """All devices as a mesh with named axes.

    Args:
      axes: name -> size, in order; one size may be -1: all remaining devices. One axis must be `data`.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or there is no axis `data`.
    """
    devices = jax.devices()
    names, sizes = tuple(axes), list(axes.values())
    if "data" not in names:
        raise UserError(f"config.mesh has the axes {names} but needs one called 'data', which the batch is split over")
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices) or min(sizes) < 1:
        raise UserError(
            f"config.mesh = {dict(axes)} does not fit {len(devices)} devices: the sizes must multiply to that number "
            "(one of them may be -1, for the rest)"
        )
    return Mesh(np.asarray(devices).reshape(sizes), names)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """First axis split over `data`, the others not split."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(batch_size: int, mesh: Mesh, key: str = "config.batch_size") -> None:
    """Raises UserError unless the batch can be split evenly over the `data` axis (and so over the processes)."""
    shards = mesh.shape["data"]
    if batch_size % shards:
        raise UserError(
            f"{key} = {batch_size} is not divisible by the {shards} devices on the mesh axis 'data': "
            f"use {max(1, round(batch_size / shards)) * shards}"
        )


def path_name(path) -> str:
    """`params/backbone/conv1/kernel` for a key path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def state_shardings(mesh: Mesh, state, rules):
    """A sharding for every array of a train state.

    Args:
      mesh: the mesh.
      state: tree of arrays or `jax.ShapeDtypeStruct`.
      rules: sequence of (regular expression, spec); the first expression that is found in an array's path, such as
        `params/backbone/conv1/kernel` or `opt_state/0/1/trace/backbone/conv1/kernel`, decides. A spec is a tuple with
        a mesh axis or None for each dimension, or "fsdp": split the longest dimension that divides over `data`.
        Other arrays, and scalars, are replicated.

    Raises:
      UserError: a rule names an axis that the mesh lacks, or splits a dimension that does not divide.
    """

    def place(path, array):
        name = path_name(path)
        for pattern, spec in rules:
            if array.ndim and re.search(pattern, name):
                return NamedSharding(mesh, _partition(mesh, name, array.shape, pattern, spec))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(place, state)


def _partition(mesh, name, shape, pattern, spec) -> PartitionSpec:
    if spec == FSDP:
        shards = mesh.shape["data"]
        divisible = [axis for axis, size in enumerate(shape) if size % shards == 0]
        if not divisible or math.prod(shape) < SMALLEST_SHARDED:
            return PartitionSpec()
        longest = max(divisible, key=lambda axis: shape[axis])
        return PartitionSpec(*["data" if axis == longest else None for axis in range(len(shape))])
    if isinstance(spec, str) or len(spec) > len(shape):
        raise UserError(f"config.sharding: the spec {spec!r} of rule {pattern!r} does not fit {name} of shape {shape}")
    for axis, size in zip(spec, shape, strict=False):
        if axis is not None and axis not in mesh.shape:
            raise UserError(
                f"config.sharding: rule {pattern!r} names the axis {axis!r}; the mesh has {dict(mesh.shape)}"
            )
        if axis is not None and size % mesh.shape[axis]:
            raise UserError(
                f"config.sharding: rule {pattern!r} splits a dimension of {size} of {name} over "
                f"{mesh.shape[axis]} devices"
            )
    return PartitionSpec(*spec)


def shard_over_data(x: jax.Array) -> jax.Array:
    """Constrains x to be split along its first axis over the mesh axis `data`, evenly or not.

    The batch is already split, but arrays cut or repeated from it (10 of 528 images, 100 variants of each) may be
    replicated on every device, with all that is computed from them. The mesh is that of `jax.set_mesh`; without it, and
    outside jit, x is unchanged.
    """
    if "data" not in jax.sharding.get_abstract_mesh().axis_names:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data"))
