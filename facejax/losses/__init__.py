"""Losses as pure functions of arrays, without state and without NaN in edge cases.

They compute in float32 whatever the type of the arguments; float64, which requires x64 mode, stays float64.
They import nothing but JAX, and jaxtyping for the shapes in their signatures, so they can be used from any training
loop. Under `jax.jit` over a mesh with the batch
sharded they see the global batch; no axis name is needed.
"""

from facejax.losses.byol import byol, region_consistency
from facejax.losses.classification import binary_cross_entropy, cross_entropy
from facejax.losses.clustering import centered_assignment, cluster_assignment, sinkhorn
from facejax.losses.contrastive import info_nce, mixed_info_nce, pose_info_nce
from facejax.losses.disentanglement import orthogonality
from facejax.losses.distillation import dino, update_center
from facejax.losses.landmarks import adaptive_wing, star
from facejax.losses.margin import arcface, cosface

__all__ = [
    "adaptive_wing",
    "arcface",
    "binary_cross_entropy",
    "byol",
    "centered_assignment",
    "cluster_assignment",
    "cosface",
    "cross_entropy",
    "dino",
    "info_nce",
    "mixed_info_nce",
    "orthogonality",
    "pose_info_nce",
    "region_consistency",
    "sinkhorn",
    "star",
    "update_center",
]
