"""Compares a face branch and a pose branch: each should know labels that the other should not."""

from collections.abc import Mapping

from facejax.evaluation.protocols import higher_is_better

POSE = "pose"  # the evaluation that the pose branch should win; the face branch should win all others


def advantages(metrics: Mapping[str, float]) -> dict[str, float]:
    """By how much the branch that should know each label reads it better than the other branch.

    Args:
      metrics: `facejax.evaluation.suite.evaluate`'s, of features with kinds "face" and "pose".

    Returns:
      One value for every metric of both kinds, in its unit, above 0 where the right branch is better. The name is
      "disentanglement/" with the names of evaluation and metric. Empty where the features have other kinds.

    Examples:
      >>> metrics = {"pose/face/mae": 9.0, "pose/pose/mae": 4.0, "identity/face/top1_accuracy": 0.75}
      >>> advantages(metrics | {"identity/pose/top1_accuracy": 0.25})
      {'disentanglement/pose_mae': 5.0, 'disentanglement/identity_top1_accuracy': 0.5}
    """
    found = {}
    for name, face in metrics.items():
        evaluation, *kind, metric = name.split("/")
        pose = metrics.get(f"{evaluation}/pose/{metric}")
        if kind == ["face"] and pose is not None:
            margin = (face - pose) * (1 if higher_is_better(metric) else -1)
            found[f"disentanglement/{evaluation}_{metric}"] = -margin if evaluation == POSE else margin
    return found
