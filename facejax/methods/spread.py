"""Where arrays that a method makes by itself lie on the mesh."""

import jax
from jax.sharding import PartitionSpec


def spread(x: jax.Array) -> jax.Array:
    """Asks that x be split along its first axis over the mesh axis `data`, evenly or not.

    The batch comes split; what is cut or repeated from it (10 of 528 images, 100 variants of each) may end up whole on
    every device, and all that follows be computed on each of them. The mesh is that of `jax.set_mesh`; without it, and
    outside jit, x stays as it is.
    """
    if "data" not in jax.sharding.get_abstract_mesh().axis_names:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec("data"))
