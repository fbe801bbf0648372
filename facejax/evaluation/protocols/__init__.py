"""Protocols by name, for configs. A new one is added here in one line."""

from facejax.evaluation.protocols.action_units import ACTION_UNITS
from facejax.evaluation.protocols.few_shot import FEW_SHOT
from facejax.evaluation.protocols.heads import CLASSIFICATION, LANDMARKS
from facejax.evaluation.protocols.ijb import IJB
from facejax.evaluation.protocols.linear import LINEAR
from facejax.evaluation.protocols.neighbours import KNN, RETRIEVAL
from facejax.evaluation.protocols.pairs import VERIFICATION
from facejax.evaluation.protocols.protocol import Protocol
from facejax.evaluation.protocols.regions import REGIONS
from facejax.evaluation.protocols.regression import ALIGNMENT, BATCH_NORM_LINEAR, RIDGE

PROTOCOLS: dict[str, Protocol] = {
    "knn": KNN,
    "retrieval": RETRIEVAL,
    "linear": LINEAR,
    "ridge": RIDGE,
    "batch_norm_linear": BATCH_NORM_LINEAR,
    "few_shot": FEW_SHOT,
    "action_units": ACTION_UNITS,
    "alignment": ALIGNMENT,
    "verification": VERIFICATION,
    "classification": CLASSIFICATION,
    "landmarks": LANDMARKS,
    "ijb": IJB,
    "regions": REGIONS,
}

LOWER_IS_BETTER = frozenset(word for protocol in PROTOCOLS.values() for word in protocol.lower_is_better)


def higher_is_better(metric: str) -> bool:
    """Whether a metric is better when it is higher, by the first word of its name.

    Examples:
      >>> higher_is_better("expression/knn_accuracy"), higher_is_better("pose/mae_yaw")
      (True, False)
    """
    return metric.rsplit("/", 1)[-1].split("_")[0] not in LOWER_IS_BETTER
