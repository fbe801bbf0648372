"""LAFS: self-supervised Part fViT-B on one image of each identity of WebFace4M, the paper's run, number for number.

Sun et al., "LAFS: landmark-based facial self-supervised learning for face recognition", CVPR 2024, arXiv 2403.08161.
Stage 2 of LAFS; its landmark network is that of stage 1, a workdir of part_fvit_supervised.py or the official file:

    python -m facejax.main --config=experiments/lafs_part_fvit.py --workdir=workdirs/lafs \
        --config.landmark_network=workdirs/part_fvit

The released weights come from this run: 205 990 images, one of each identity of WebFace4M. Labels are used only
to choose the images. (The released script reads MS1MV3 instead, through a list of 0.4 of its images drawn at
random: `--config.data.folder=datasets/ms1mv3 --config.data.images_per_class=0`, without that list.)

Hardware: the official run used two A100 with 40 GB and 82 images each; the learning rate follows `config.batch_size`.

    python -m facejax.main --config=experiments/lafs_part_fvit.py:demo --workdir=workdirs/lafs_demo \
        --config.landmark_network=workdirs/part_fvit_demo

is the same method, small, on synthetic faces: minutes on two cores.

Result to expect: after lafs_finetune.py, TAR at FAR 1e-4 of 96.28 % on IJB-B and 97.58 % on IJB-C (reported by the
authors).
"""

from experiments import common


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the paper's run, "demo" for a laptop.
    """
    config = common.base("lafs", arg)
    config.epochs = 41
    config.batch_size = 164  # over all devices
    config.image_size = 112
    config.dtype = "bfloat16"  # of the computation; parameters, statistics, landmarks and losses are float32
    config.mean, config.std = (0.5,) * 3, (0.5,) * 3

    config.data = common.records(
        "datasets/webface4m",
        image_size=112,
        label="identity",  # used only for the following two choices
        images_per_class=1,  # 0: all
        class_share=1.0,  # fraction of the identities
        class_choice="random",  # or "prefix": the first records
    )
    view = dict(
        size=112,
        crop_scale=(0.4, 1.0),
        method="bicubic",
        flip=0.5,
        jitter=(0.4, 0.4, 0.2, 0.1),  # brightness, contrast, saturation, hue
        jitter_probability=0.8,
        grey_probability=0.2,
        blur_radius=(0.1, 2.0),
    )
    config.global1 = dict(view, blur_probability=1.0, solarize_probability=0.0)
    config.global2 = dict(view, blur_probability=0.1, solarize_probability=0.2)
    config.local = dict(view, blur_probability=0.5, solarize_probability=0.0)
    config.num_local = 8

    config.landmark_network = ""  # must be set: workdir or official checkpoint (.pth) of stage 1; or "random"
    config.landmark_augmentation = dict(
        noise=5.0,  # pixels
        local_points=36,  # points of a local crop
    )
    config.model = dict(
        size="base",  # tiny, small, base
        landmarks=True,
        num_points=196,
        patch_size=8,
        geometry="official",  # as stage 1 was trained
        dropout=0.1,
        stochastic_depth=0.1,
    )
    config.head = dict(num_outputs=100_000, hidden_dim=2048, bottleneck_dim=256)
    config.loss = dict(
        student_temperature=0.1,
        first_teacher_temperature=0.07,
        teacher_temperature=0.04,
        temperature_epochs=30,
        center_momentum=0.9,
    )
    config.optimizer = dict(
        learning_rate=5e-4,  # for a batch of 256
        final_learning_rate=1e-6,
        warmup_epochs=10,
        weight_decay=(0.04, 0.4),  # from the first step to the last
        max_norm=3.0,  # of the gradient of each parameter
        frozen_epochs=1,  # of the last layer
    )
    config.ema = dict(
        momentum=0.996,  # rises to 1 along a cosine
        teacher_mode="train",  # the teacher applies dropout like the student, as officially; or "eval"
    )

    config.synthetic_faces.update(train_identities=200, test_identities=50)
    config.evaluations = dict(
        lfw=dict(label="same", probes=("verification",), data="datasets/lfw", test_split="test"),
    )
    if arg == "demo":
        shrink(config)
    return config


def shrink(config):
    """Reduces the paper's run to one for a laptop."""
    config.epochs = 8
    config.batch_size = 32
    config.image_size = 48
    config.dtype = "float32"
    config.synthetic_faces.update(train_identities=250, test_identities=60)
    config.evaluations = {"identity": common.IDENTITY, "expression": common.EXPRESSION}
    common.on_synthetic_faces(config, image_size=48)
    config.evaluations.expression.probes = ("linear",)
    config.data.images_per_class = 0
    for view in (config.global1, config.global2, config.local):
        # Weak, because the colours of skin and hair identify a synthetic face best.
        view.update(size=48, jitter=(0.1, 0.1, 0.1, 0.02), grey_probability=0.0, solarize_probability=0.0)
        view.update(blur_probability=0.1, blur_radius=(0.1, 0.5))
    config.num_local = 2
    config.landmark_augmentation.update(noise=2.0, local_points=16)
    config.model.update(size="nano", num_points=49, dropout=0.0, stochastic_depth=0.0)
    config.head.update(num_outputs=1024, hidden_dim=256, bottleneck_dim=64)
    config.loss.temperature_epochs = 2
    config.optimizer.update(learning_rate=4e-3, warmup_epochs=1)
    config.ema.momentum = 0.99
    config.checkpoint.every_steps = 200
