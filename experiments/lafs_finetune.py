"""LAFS fine-tuned for recognition with CosFace on WebFace4M, the paper's run, number for number.

Sun et al., "LAFS: landmark-based facial self-supervised learning for face recognition", CVPR 2024, arXiv 2403.08161.
Stage 3 of LAFS: the teacher of stage 2 and the landmark network of stage 1, from workdirs or official files, are
trained together:

    python -m facejax.main --config=experiments/lafs_finetune.py --workdir=workdirs/lafs_finetuned \
        --config.initialize_from.transformer=workdirs/lafs \
        --config.initialize_from.landmark_network=workdirs/part_fvit

Few-shot: `--config.data.images_per_class=4`, or `--config.data.class_share=0.1` for a tenth of the identities. Without
pre-training, to compare with: `--config.initialize_from.transformer=random`.

The official script computes the layer-wise rates and never applies them: `config.optimizer.groups` selects the paper's
("layer_decay") or the official behaviour ("layer_decay_official"). For MS1MV3 set `config.data.folder`,
`config.classifier.num_classes=93431`, `config.rand_augment.magnitude=2` and `config.mixup.probability=0.2`.

    python -m facejax.main --config=experiments/lafs_finetune.py:demo --workdir=workdirs/lafs_finetuned_demo \
        --config.initialize_from.transformer=workdirs/lafs_demo \
        --config.initialize_from.landmark_network=workdirs/part_fvit_demo

is the same, small, on synthetic faces: minutes on two cores.

Result to expect: TAR at FAR 1e-4 of 96.28 % on IJB-B and 97.58 % on IJB-C; 96.05 and 97.40 without stage 2 (reported
by the authors).
"""

from experiments import part_fvit_supervised


def get_config(arg=None):
    """The config; `arg` as for part_fvit_supervised.py."""
    config = part_fvit_supervised.get_config(arg)
    config.initialize_from.update(transformer="", landmark_network="")  # must be set: see above
    config.optimizer.update(groups="layer_decay", layer_decay=0.58)  # trunk of the landmark network 0.05, vectors 0
    config.optimizer.landmark_warmup_epochs = (0, 0)  # it is already trained
    if arg == "demo":
        config.batch_size = 32
        config.data.images_per_class = 4
        config.epochs = 20
        config.evaluations = {"identity": config.evaluations.identity}
        return config
    config.data.folder = "datasets/webface4m"
    config.classifier.num_classes = 205_990
    config.rand_augment.magnitude = 1.0
    config.mixup.probability = 0.1
    return config
