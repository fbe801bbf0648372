"""Losses as pure functions of arrays: no state, float32 inside whatever comes in, no NaN at the edges.

They import nothing but JAX, so they can be used from any training loop. Under `jax.jit` over a mesh with the batch
sharded they see the global batch; no axis name is needed.
"""

from facejax.losses.byol import byol, region_consistency
from facejax.losses.clustering import cluster_assignment, sinkhorn

__all__ = [
    "byol",
    "cluster_assignment",
    "region_consistency",
    "sinkhorn",
]
