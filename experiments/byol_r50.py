"""BYOL, ResNet-50 on VGGFace2: the baseline of FRA, its network and loss without regions.

Grill et al., "Bootstrap your own latent", NeurIPS 2020, arXiv 2006.07733.

    python -m facejax.main --config=experiments/byol_r50.py[:demo] --workdir=DIR

Data, views, optimizer and evaluations are those of fra_r50.py.

Result to expect: no result of this run is published.
"""

from experiments import fra_r50

REGIONS = (
    "num_regions", "decoder_layers", "decoder_heads", "dropout", "heatmap_temperature", "prototype_momentum"
)  # fmt: skip


def get_config(arg=None):
    """The config; `arg` as for fra_r50.py."""
    config = fra_r50.get_config(arg)
    config.method = "byol"
    for key in REGIONS:
        del config.model[key]
    del config.loss
    return config
