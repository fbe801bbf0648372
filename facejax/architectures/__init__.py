"""Kinds of networks that encoders have, one file each."""

from facejax.architectures.architecture import Architecture
from facejax.architectures.fra_regions import FRARegions
from facejax.architectures.part_fvit import PartFViT
from facejax.architectures.pcl_branches import PCLBranches
from facejax.architectures.pooled_resnet import PooledResNet

ARCHITECTURES: dict[str, type[Architecture]] = {
    "fra": FRARegions,
    "part_fvit": PartFViT,
    "pcl": PCLBranches,
    "resnet": PooledResNet,
}

__all__ = ["ARCHITECTURES", "Architecture"]
