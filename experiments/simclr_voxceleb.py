"""SimCLR on VoxCeleb1: the baseline of PCL, its trunk and face branch without decoder and pose.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, arXiv 2002.05709.

    python -m facejax.main --config=experiments/simclr_voxceleb.py[:demo] --workdir=DIR

Data, network, optimiser and evaluations are those of pcl_voxceleb.py.

Result to expect: no result of this run is published.
"""

from experiments import pcl_voxceleb


def get_config(arg=None):
    """The config; `arg` as for pcl_voxceleb.py."""
    config = pcl_voxceleb.get_config(arg)
    config.method = "simclr"
    config.batches = dict(face=config.batches.face)
    config.batch_size = config.batches.face
    del config.decoder_warmup_epochs
    config.loss = dict(temperature=config.loss.temperature, dynamic_weights=False)  # there is one contrast
    config.view = dict(crop_scale=(0.2, 1.0), flip=0.5)
    config.augmentation.gradient_probability = 0.0
    return config
