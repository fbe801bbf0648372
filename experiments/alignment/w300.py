"""68 landmarks of 300W by STAR's stacked hourglass with maps of edges, the official run, number for number.

Zhou et al., "STAR loss: reducing semantic ambiguity in facial landmark detection", CVPR 2023, arXiv 2306.02763.

    python -m data_prep.w300 --source=300W --out=datasets/w300 --square=2 --size=512
    python -m facejax.main --config=experiments/alignment/w300.py --workdir=workdirs/w300

How the faces are cut out decides about tenths of a percent: officially by tables of ADNet, here by the box around the
landmarks. Batch 128 is that of the official README's command.

    python -m facejax.main --config=experiments/alignment/w300.py:deconvolution --workdir=workdirs/w300_fra \
        --config.initialize_from=workdirs/fra_r50

puts deconvolutions on an encoder, whatever `facejax.load` takes that holds a ResNet-50; `random` is from scratch.

    python -m facejax.main --config=experiments/alignment/w300.py:demo --workdir=workdirs/w300_demo
    python -m facejax.main --config=experiments/alignment/w300.py:deconvolution_demo --workdir=workdirs/w300_fra_demo \
        --config.initialize_from=workdirs/demo

are the same, small, on synthetic faces: some minutes on two cores.

Result to expect, from the paper: a normalised mean error (outer eye corners) of 2.87 % in all, 2.52 % common, 4.32 %
challenging; on an encoder, a third party lists PCL with 3.35, 2.77 and 5.12.
"""

from experiments import common

ARGUMENTS = ("demo", "deconvolution", "deconvolution_demo")


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the official run, "deconvolution" for a head on an encoder, "demo" and "deconvolution_demo" for the
        laptop's.
    """
    config = common.base("alignment", arg, args=ARGUMENTS)
    config.epochs = 500
    config.batch_size = 128  # over all devices; the official config file has 32
    config.image_size = 256
    config.dtype = "bfloat16"  # of the computation; parameters, statistics, maps and losses are float32
    config.mean, config.std = (0.5,) * 3, (0.5,) * 3
    config.data = common.records("datasets/w300", image_size=512)
    config.landmarks = dict(field="landmarks", points="300w", edges=True, origin="center")
    config.view = dict(
        side=0.6,  # of the square of twice the face's box: 1.2 times the box
        flip=0.5,
        shift=0.05,
        rotation=18.0,
        scale=0.1,
    )
    config.disturb = dict(occlusion=0.4, blur=0.3, gamma=0.2, noise=0.2, grey=0.2)

    config.hourglass = dict(width=256, num_stacks=4, num_levels=4, stem_width=128)
    config.initialize_from = "random"  # or a workdir
    config.loss = dict(distance="smooth_l1", restriction_weight=1.0, map_weight=10.0)
    config.optimizer = dict(learning_rate=1e-3, milestones=(200, 350, 450), decay=0.1)
    config.average = dict(half_life=10_000.0)  # images

    config.checkpoint.best = ("landmarks/landmarks/nme",)
    config.evaluate_every_steps = 10 * (3148 // 128)  # officially after every epoch
    config.evaluations = dict(
        landmarks=dict(
            label="landmarks",
            probes=("landmarks",),
            data="datasets/w300",
            test_split="test",
            thresholds=(0.05, 0.08, 0.1),
            subset="subset",
            subset_names=("train", "common", "challenging"),
        )
    )
    if arg and "deconvolution" in arg:
        on_encoder(config)
    if arg and "demo" in arg:
        shrink(config)
    return config


def on_encoder(config):
    """A head on an encoder in the place of the hourglass."""
    del config.hourglass
    config.resnet = dict(variant="resnet50", width=64, output_stride=32)  # as the encoder was trained
    config.deconvolution = dict(width=256, backbone_factor=0.1)
    config.initialize_from = ""  # to be set: see above
    config.mean, config.std = (0.5231, 0.4044, 0.3489), (0.2536, 0.2194, 0.2070)  # of VGGFace2


def shrink(config):
    """Turns the official run into the laptop's, on the faces of FRA's demo."""
    common.on_synthetic_faces(config, image_size=64)
    config.epochs = 10
    config.batch_size = 16
    config.image_size = 64
    config.dtype = "float32"
    config.landmarks.origin = "corner"
    config.view.update(side=1.0, shift=0.02, rotation=10.0)
    config.disturb = dict.fromkeys(config.disturb, 0.0)
    if "hourglass" in config:
        config.hourglass.update(width=32, num_stacks=1, num_levels=2, stem_width=32)
    else:
        config.resnet.update(variant="resnet18", width=16, output_stride=16)
        config.deconvolution.width = 32
    config.optimizer.update(learning_rate=3e-3, milestones=(7, 9))
    config.average.half_life = 1000.0
    config.evaluations.landmarks.update(origin="corner", subset=None, subset_names=())
