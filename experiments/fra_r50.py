"""FRA, ResNet-50 on VGGFace2: the paper's run, number for number. `:demo` and `:photos` run on a laptop.

Gao & Patras, "Self-Supervised Facial Representation Learning with Facial Region Awareness", CVPR 2024,
arXiv 2403.02138.

    python -m data_prep.vggface2 --source=VGGFACE2 --out=datasets/vggface2
    python -m facejax.main --config=experiments/fra_r50.py --workdir=gs://BUCKET/fra_r50

Hardware: the batch of 512 at 224 px needs 8 devices with 16 GB or more each (TPU v3-8 and newer, 8 GPUs); on fewer,
lower `config.batch_size` and, in proportion, `config.optimizer.learning_rate`.

    python -m facejax.main --config=experiments/fra_r50.py:demo --workdir=workdirs/demo

is the same method on 64 px synthetic faces, which it renders itself: a narrow ResNet-18, minutes on two cores.

    python -m data_prep.image_folder --source=photos --out=datasets/photos --size=256
    python -m facejax.main --config=experiments/fra_r50.py:photos --workdir=workdirs/photos

is for your own photos, from a hundred to a hundred thousand, on a laptop or one GPU.

Result to expect: the paper evaluates fine-tuned networks; we know of no result of the frozen encoder. docs/demo.md has
one run of the demo.
"""

from experiments import common


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the paper's run, "demo" for synthetic faces on a laptop, "photos" for your own photos.
    """
    config = common.base("fra", arg, args=("demo", "photos"))
    config.epochs = 50
    config.batch_size = 512  # over all devices
    config.image_size = 224
    config.dtype = "bfloat16"  # of the computation; parameters, statistics and losses are float32
    config.mean, config.std = (0.5231, 0.4044, 0.3489), (0.2536, 0.2194, 0.2070)  # of VGGFace2

    config.data = common.records("datasets/vggface2", image_size=256, fraction=1.0)  # of the images
    view = dict(
        crop_scale=(0.2, 1.0),
        flip=0.5,
        jitter=(0.4, 0.4, 0.2, 0.1),  # brightness, contrast, saturation, hue
        jitter_probability=0.8,
        grey_probability=0.2,
        blur_radius=(0.1, 2.0),
    )
    config.view1 = dict(view, blur_probability=1.0, solarize_probability=0.0)
    config.view2 = dict(view, blur_probability=0.1, solarize_probability=0.2)

    config.model = dict(
        backbone="resnet50",
        width=64,
        output_stride=32,  # pixels per cell of the grid on which regions are found
        embedding_dim=256,
        hidden_dim=4096,
        num_regions=8,
        decoder_layers=2,
        decoder_heads=8,
        dropout=0.1,
        heatmap_temperature=1.0,
        prototype_momentum=0.9,
    )
    config.loss = dict(
        instance_weight=0.5,
        region_weight=0.5,
        cluster_weight=0.1,
        decorrelation_weight=0.02,
        student_temperature=0.1,
        teacher_temperature=0.04,
        sinkhorn_iterations=3,
        # Officially, on W GPUs the gradient of the entropy term is 1/W of what the loss says, since the all-reduce of
        # the mean probabilities is invisible to autograd. To reproduce a published run on W GPUs, set 1/W.
        entropy_weight=1.0,
    )
    config.optimizer = dict(
        learning_rate=0.9,
        warmup_epochs=10,
        momentum=0.9,
        weight_decay=1e-6,
        trust_coefficient=1e-3,
        exclude="official",  # or "bias_and_norm": no norm scale is decayed or adapted
        predictor_factor=1.0,  # the predictors' learning rate divided by that of other parameters
    )
    config.ema = dict(
        momentum=0.996,  # rises to 1 along a cosine
        target_statistics="own",
    )

    config.evaluations = dict(
        expression=common.EXPRESSION, identity=common.IDENTITY, attributes=common.ATTRIBUTES, pose=common.POSE
    )
    if arg:
        shrink(config)
        {"demo": synthetic, "photos": photos}[arg](config)
    return config


def shrink(config):
    """Reduces the paper's run to a laptop's: few steps need a faster target and predictors, and weaker views."""
    config.batch_size = 32
    config.dtype = "float32"
    config.data.num_workers = 0
    for view in (config.view1, config.view2):
        view.update(
            crop_scale=(0.7, 1.0),
            jitter=(0.2, 0.2, 0.1, 0.02),
            grey_probability=0.05,
            blur_probability=0.1,
            solarize_probability=0.0,
        )
    config.model.update(backbone="resnet18", output_stride=16, embedding_dim=64, hidden_dim=256)
    config.loss.decorrelation_weight = 1.0
    config.optimizer.update(learning_rate=1.0, warmup_epochs=1, predictor_factor=30.0)
    config.ema.momentum = 0.99
    config.checkpoint.every_steps = 500
    config.evaluate_every_steps = 0


def synthetic(config):
    """The demo: synthetic faces, which the run renders."""
    config.epochs = 8
    config.image_size = 48
    config.model.width = 16
    common.on_synthetic_faces(config, image_size=64)
    for view in (config.view1, config.view2):
        view.flip = 0.0  # a mirrored head has another yaw
        view.update(grey_probability=0.0, blur_probability=0.0)  # few views would use them, and every step would pay


def photos(config):
    """Your own photos: a few of them get as many steps as 4800, and are evaluated by the labels that they have."""
    config.epochs = 20
    config.min_steps_per_epoch = 150  # an epoch passes over a few photos several times
    config.image_size = 64
    config.model.width = 32
    config.data.update(folder="datasets/photos", image_size=96)
    del config.synthetic_faces
    # Each photo is compared with all others: training sees no label.
    among_all = dict(
        data=config.data.get_ref("folder"),
        train_split="train",
        test_split="train",
        probes=("retrieval", "knn"),
        k=5,
        optional=True,  # skipped if the photos do not have the label
    )
    config.evaluations = {
        "identity": dict(among_all, label="identity"),  # of data_prep.image_folder --labels=identity
        "class": dict(among_all, label="label"),  # of --labels=class
    }
