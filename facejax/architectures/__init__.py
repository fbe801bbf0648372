"""Kinds of networks that encoders have, one file each."""

from facejax.architectures.architecture import Architecture
from facejax.architectures.fra_regions import FRARegions
from facejax.architectures.landmark_maps import Deconvolutions, StarHourglass
from facejax.architectures.lewel_regions import LEWELRegions
from facejax.architectures.part_fvit import PartFViT
from facejax.architectures.pcl_branches import PCLBranches
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.architectures.tuned_classifier import TunedClassifier
from facejax.architectures.vit import ViT

ARCHITECTURES: dict[str, type[Architecture]] = {
    "classifier": TunedClassifier,
    "deconvolutions": Deconvolutions,
    "fra": FRARegions,
    "lewel": LEWELRegions,
    "part_fvit": PartFViT,
    "pcl": PCLBranches,
    "resnet": PooledResNet,
    "star": StarHourglass,
    "vit": ViT,
}

__all__ = ["ARCHITECTURES", "Architecture", "PCLBranches", "PartFViT", "PooledResNet", "ViT", "name_of"]


def name_of(architecture: Architecture) -> str:
    """The key of `ARCHITECTURES` for an architecture."""
    return next(name for name, kind in ARCHITECTURES.items() if kind is type(architecture))
