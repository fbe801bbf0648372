"""Regions of an encoder that finds some (FRA) against the true parts of synthetic faces.

    python -m facejax.evaluate workdirs/demo --config=experiments/evaluate/regions.py --out=regions

Encoders without heatmaps are refused.
"""

from experiments.evaluate import synthetic

REGIONS = ("background", "skin", "brows", "eyes", "nose", "mouth", "hair", "beard", "ears", "neck", "clothes", "hat",
           "glasses", "occluder")  # fmt: skip


def get_config(arg=None):
    """The config; there is no argument."""
    config = synthetic.get_config(arg)
    faces = config.synthetic_faces.folder
    config.tasks = dict(regions=dict(data=faces, protocol="regions", label="regions", names=REGIONS, groups="identity"))
    return config
