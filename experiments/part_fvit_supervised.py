"""Part fViT-B on MS1MV3 with CosFace: recognition with labels, and the source of LAFS' landmark network.

Sun & Tzimiropoulos, "Part-based face recognition with vision transformers", BMVC 2022, arXiv 2212.00057: the landmarks
are learned through the patches around them, without landmark labels. Stage 1 of LAFS.

    python -m data_prep.mxnet_records --source=MS1MV3 --out=datasets/ms1mv3
    python -m facejax.main --config=experiments/part_fvit_supervised.py --workdir=workdirs/part_fvit

Losses and decays are the published ones. No script of this stage was released; schedule and augmentation are those of
the official fine-tuning on MS1MV3.

With `--config.model.landmarks=False` it is fViT, on a regular grid of patches. For WebFace4M set `config.data.folder`,
`config.classifier.num_classes=205990`, `config.rand_augment.magnitude=1` and `config.mixup.probability=0.1`.

Hardware: 8 devices with 16 GB or more each; on fewer raise `config.optimizer.accumulation`, which must divide the
batch. The rows of the classifier, and its moments, are split over all devices.

    python -m facejax.main --config=experiments/part_fvit_supervised.py:demo --workdir=workdirs/part_fvit_demo

is a small Part fViT on synthetic faces, which it renders itself: minutes on two cores.

Result to expect: TAR at FAR 1e-4 on IJB-C of 97.29 and 97.40 %, the two published results of Part fViT.
"""

import math

from experiments import common


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the paper's run, "demo" for a laptop.
    """
    config = common.base("supervised", arg)
    config.epochs = 34
    config.batch_size = 1200  # over all devices
    config.image_size = 112
    config.dtype = "bfloat16"  # of the computation; parameters, statistics, landmarks and losses are float32
    config.mean, config.std = (0.5,) * 3, (0.5,) * 3

    config.data = common.records(
        "datasets/ms1mv3",
        image_size=112,
        label="identity",
        images_per_class=0,  # 0: all; 1, 2, 4, 10: a few-shot subset
        class_share=1.0,  # fraction of the identities
        class_choice="random",  # or "prefix": the first records, as officially
    )
    config.view = dict(
        crop_scale=(0.9, 1.0),
        flip=0.5,
        jitter=(0.1, 0.1, 0.1, 0.1),  # brightness, contrast, saturation, hue
        jitter_probability=1.0,
    )
    config.rand_augment = dict(magnitude=2.0, magnitude_std=0.5, num_operations=2, probability=0.5)
    config.erasing = dict(probability=0.5, scale=(0.02, 0.1), ratio=(0.3, 3.3), value=0.0)
    config.mixup = dict(alpha=0.2, probability=0.2)

    config.model = dict(
        size="base",  # tiny, small, base
        landmarks=True,
        num_points=196,
        patch_size=8,
        landmark_start="official",  # or "grid": points on a grid, residual blocks as the identity; for short runs
        geometry="official",  # or "upright": without half-pixel shift and transposition
        dropout=0.1,
        stochastic_depth=0.1,
        landmark_dropout=0.5,
    )
    config.initialize_from = dict(  # workdirs or official checkpoints (.pth); this stage starts from none
        transformer="random", landmark_network="random"
    )
    config.classifier = dict(
        num_classes=93_431,
        loss="cosface",  # or "arcface"
        scale=64.0,
        margin=0.4,
        axis="data",  # of the mesh, that its rows are split over
        sampled=1.0,  # fraction of the rows that take part in a step (partial FC)
    )
    config.optimizer = dict(
        learning_rate=1e-3 * 3 / 480 * math.sqrt(400 / 336) * 336,  # official for 3 accumulated batches of 400
        final_learning_rate=1e-6,
        warmup_epochs=5,
        groups="end_to_end",
        weight_decay=0.1,
        landmark_weight_decay=0.05,
        landmark_factor=1.0,  # on the learning rate of the landmark network
        landmark_warmup_epochs=(0, 0),  # between which that rate rises from 0, while only patches are learned
        layer_decay=1.0,
        # Parts of a batch that are computed one after the other, each with its own mixup and batch statistics. The
        # official code has 6 parts of 200 images: 2 GPUs with 3 accumulated batches each.
        accumulation=1,
    )

    config.sharding = (("classifier", ("data", None)),)  # regex on the path in the train state, axis of each dimension
    pairs = ("lfw", "cfp_fp", "agedb_30")
    # The mean of these decides which state is stored as the best.
    config.checkpoint.best = tuple(f"{name}/embedding/verification_accuracy" for name in pairs)
    config.synthetic_faces.update(train_identities=200, test_identities=50)
    config.evaluations = {
        name: dict(
            label="same",
            probes=("verification",),
            data="datasets/verification",
            test_split=name,
            kinds=("embedding",),
            flip=True,
        )
        for name in pairs
    }
    if arg == "demo":
        shrink(config)
    return config


def shrink(config):
    """Reduces the paper's run to one for a laptop."""
    config.epochs = 22
    config.batch_size = 64
    config.image_size = 48
    config.dtype = "float32"
    config.synthetic_faces.update(train_identities=250, test_identities=60)
    config.evaluations = {
        "identity": dict(common.IDENTITY, kinds=("embedding",)),
        # How consistently the learned points follow faces: predicts the 68 true points from them.
        "landmarks": dict(common.LANDMARKS, kinds=("landmarks",)),
    }
    common.on_synthetic_faces(config, image_size=48)
    config.model.update(
        size="nano", num_points=49, landmark_start="grid", dropout=0.0, stochastic_depth=0.0, landmark_dropout=0.0
    )
    config.rand_augment.magnitude = 0.0
    config.mixup.probability = 0.0
    config.classifier.update(num_classes=config.synthetic_faces.train_identities, scale=16.0, margin=0.1)
    config.optimizer.update(learning_rate=2e-3, warmup_epochs=1, landmark_factor=0.5, landmark_warmup_epochs=(2, 6))
    config.checkpoint.update(every_steps=200, best=())
