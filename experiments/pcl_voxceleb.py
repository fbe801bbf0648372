"""PCL on VoxCeleb1: the paper's run, number for number. `:demo` runs on a laptop.

Liu et al., "Pose-disentangled contrastive learning for self-supervised facial representation", CVPR 2023,
arXiv 2211.13490.

    python -m data_prep.voxceleb --source=VOXCELEB1 --out=datasets/voxceleb1 --align --size=224
    python -m facejax.main --config=experiments/pcl_voxceleb.py --workdir=gs://BUCKET/pcl_voxceleb

Hardware: an iteration encodes 2,044 images of 64 px and decodes 1,024 in three updates; docs/pcl_step.md has its memory
and operations. It needs a device with 24 GB, or divides over up to 16.

    python -m facejax.main --config=experiments/pcl_voxceleb.py:demo --workdir=workdirs/pcl

is the same method on synthetic faces, which it renders itself: a narrow network, minutes on two cores.

Result to expect: linear probes on RAF-DB 85.92 %, FER2013 56.81 %, AffectNet-7 60.77 %, CelebA 91.48 %; AFLW2000 12.36
degrees; DISFA AU1 53.8; 300W 3.35 (2.77 common, 5.12 challenging), WFLW 4.84. A third party lists these for PCL, whose
abstract names four tasks; some may be from runs of others.
"""

from experiments import common


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the paper's run, "demo" for a laptop.
    """
    config = common.base("pcl", arg)
    config.epochs = 6000  # of floor(identities / 256) iterations
    config.decoder_warmup_epochs = 0  # initial epochs with the decoder's update only
    config.batches = dict(decoder=256, face=256, pose=10)  # records of each update, over all devices
    config.batch_size = 528  # records an iteration: their sum, and 6 more so that it divides over 16 devices
    config.image_size = 64
    config.dtype = "float32"  # of the computation; or "bfloat16": parameters, statistics and losses stay float32

    # A face view is a window of 2 floor(0.2 side): from 160 px on it is not blown up to image_size.
    config.data = common.records("datasets/voxceleb1", image_size=224)
    config.data["hierarchy"] = ("identity", "video")  # an item is an identity, a random video, a random frame
    config.augmentation = dict(  # of the contrasts' views; the decoder sees the image as it is
        jitter=(0.8, 0.8, 0.8, 0.2),  # brightness, contrast, saturation, hue
        jitter_probability=0.8,
        grey_probability=0.2,
        blur_radius=(0.1, 2.0),
        blur_taps=7,
        blur_padding="reflect",
        blur_probability=0.8,
        gradient_probability=0.6,
    )
    config.model = dict(
        width=64,
        hidden_dim=2048,
        projection_dim=512,
        decoder_size=64,  # pixels; what it draws is compared with the image at this size
    )
    config.loss = dict(
        noise=0.4,  # standard deviation, added to the images that are decoded again
        temperature=0.07,
        mixing=1.6,  # negatives are mixed in pairs, with weights from Beta(1.6, 1.6)
        pose_negatives=100,  # augmentations of each mirrored image
        dynamic_weights=True,  # from the third epoch on, of the two contrasts; False: both weigh 1
        negatives_of="own_image",  # or "all_images": the official code's, where the augmentations got mixed up
    )
    config.optimizer = dict(
        learning_rate=1e-4,
        weight_decay=1e-3,
        without_gradient="skip",  # or "decay": what PyTorch 1.7 did, which the official code was run with
    )

    config.evaluate_every_steps = 4000
    config.evaluations = dict(expression=common.EXPRESSION, identity=common.IDENTITY, pose=common.POSE)
    if arg == "demo":
        shrink(config)
    return config


def shrink(config):
    """Reduces the paper's run to one for a laptop."""
    config.epochs = 170
    config.batches = dict(decoder=32, face=64, pose=8)
    config.batch_size = 104
    common.on_synthetic_faces(config, image_size=64)
    config.data.hierarchy = ("identity",)  # there are no videos
    config.model.update(width=8, hidden_dim=256, projection_dim=64, decoder_size=32)
    config.loss.pose_negatives = 16
    config.optimizer.learning_rate = 1e-3
    config.checkpoint.every_steps = 100
    config.log_every_steps = 20
