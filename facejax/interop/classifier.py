"""Checkpoints of FRA's fine-tuning (github.com/zaczgao/Facial_Region_Awareness), in both directions.

Their keys are torchvision's, with the attributes' head, if there is one, in the place of the linear `fc`.
"""

from collections.abc import Mapping

import numpy as np

from facejax.interop import torch_layout
from facejax.interop.fra import resnet_links
from facejax.interop.torch_layout import Link, batch_norm, linear

LINEAR = linear("fc", "head/output")
ATTRIBUTES = [
    *linear("fc.stem.fc", "head/hidden0"),
    *batch_norm("fc.stem.bn", "head/norm0"),
    *linear("fc.classifier.0.fc", "head/hidden1"),
    *batch_norm("fc.classifier.0.bn", "head/norm1"),
    *linear("fc.classifier.1", "head/output"),
]


def classifier_links(variant: str, head: list[Link]) -> list[Link]:
    """Key map of a network with one of the heads, `LINEAR` or `ATTRIBUTES`."""
    return [*resnet_links(variant, "", "backbone/"), *head]


def from_official(state_dict: Mapping[str, np.ndarray], *, variant: str, source: str = "state dict") -> dict:
    """Variables of a fine-tuned network from its state dict; which head it has is seen from the keys.

    Args:
      state_dict: arrays by key. A prefix `module.` is removed; `*.num_batches_tracked`, which nothing reads, is
        ignored.
      variant: backbone, a key of `facejax.models.resnet.VARIANTS`.
      source: name for errors.

    Returns:
      `{"params", "batch_stats"}` of float32 arrays for `facejax.models.classifier.Classifier` with a `LinearHead` or
      an `AttributeHead`.

    Raises:
      UserError: a key is missing or unknown.
    """
    arrays = torch_layout.without_prefixes(state_dict, "module.")
    head = ATTRIBUTES if "fc.stem.fc.weight" in arrays else LINEAR
    return torch_layout.from_torch(classifier_links(variant, head), arrays, source)


def to_official(variables: Mapping, *, variant: str, num_updates: int = 0) -> dict[str, np.ndarray]:
    """The official state dict of a fine-tuned network: the inverse of `from_official`, complete with every buffer.

    Args:
      variables: of a `facejax.models.classifier.Classifier`.
      variant: backbone.
      num_updates: training steps so far.

    Raises:
      UserError: the variables do not fit this model.
    """
    head = ATTRIBUTES if "hidden0" in variables["params"]["head"] else LINEAR
    state_dict = torch_layout.to_torch(classifier_links(variant, head), variables)
    return torch_layout.with_counts(state_dict, num_updates)
