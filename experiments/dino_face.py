"""DINO-face: fViT-B distilled from itself on a regular grid of patches, the baseline of LAFS without landmarks.

Announced with LAFS (arXiv 2403.08161) and never released. Data, head, loss and schedules are those of
lafs_part_fvit.py; the crops are DINO's (arXiv 2104.14294): global ones of 112 px, local ones of 48 px.

    python -m facejax.main --config=experiments/dino_face.py[:demo] --workdir=DIR

Local crops have 6x6 patches; their positions are interpolated from those of 14x14, as DINO does.

Result to expect: no result of this run is published.
"""

from experiments import lafs_part_fvit


def get_config(arg=None):
    """The config; `arg` as for lafs_part_fvit.py."""
    config = lafs_part_fvit.get_config(arg)
    config.model.landmarks = False
    config.local.update(size=48, crop_scale=(0.05, 0.4))
    if arg == "demo":
        config.model.num_points = 36
        config.local.update(size=24, crop_scale=(0.2, 0.5))
    return config
