"""PCL on VoxCeleb1: the paper's run, number for number. With the argument `demo`, a laptop's.

Liu et al., "Pose-disentangled contrastive learning for self-supervised facial representation", CVPR 2023,
arXiv 2211.13490.

    python -m data_prep.voxceleb --source=VOXCELEB1 --out=datasets/voxceleb1 --align --size=224
    python -m facejax.main --config=experiments/pcl_voxceleb.py --workdir=gs://BUCKET/pcl_voxceleb

Hardware: an iteration encodes 2,044 images of 64 px and decodes 1,024 in three updates; docs/pcl_step.md has its memory
and operations. It wants a device with 24 GB, or shares them among up to 16.

    python -m facejax.main --config=experiments/pcl_voxceleb.py:demo --workdir=workdirs/pcl

is the same method on synthetic faces, which it renders itself: a narrow network, minutes on two cores.
"""

import ml_collections


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the paper's run, "demo" for the laptop's.
    """
    if arg not in (None, "demo"):
        raise ValueError(f"the argument of pcl_voxceleb.py is 'demo' or nothing, not {arg!r}")
    config = ml_collections.ConfigDict()
    config.method = "pcl"
    config.seed = 0
    config.epochs = 6000  # of floor(identities / 256) iterations
    config.decoder_warmup_epochs = 0  # at first, in which only the decoder's update is made
    config.batches = dict(decoder=256, face=256, pose=10)  # records of each update, over all devices
    config.batch_size = 528  # records an iteration: their sum, and 6 more so that it divides over 16 devices
    config.image_size = 64
    config.dtype = "float32"  # of the computation; or "bfloat16": parameters, statistics and losses stay float32

    config.data = dict(
        folder="datasets/voxceleb1",
        split="train",
        hierarchy=("identity", "video"),  # an item is an identity, a random video, a random frame; (): a record
        # Images travel to the device with their longer side at most this long, and are cropped there. A face view is a
        # window of 2 floor(0.2 side): from 160 px on it is not blown up to image_size.
        image_size=224,
        num_workers=16,  # processes that decode; 0: threads of the main process
        skip_corrupt=False,
    )
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

    config.mesh = dict(data=-1)  # axis: size; -1 is all there is
    config.sharding = ()  # ((regex on the path in the train state, "fsdp" or an axis for each dimension), ...)
    config.checkpoint = dict(every_steps=1000, keep=3, keep_period=0)
    config.log_every_steps = 50
    config.profile_steps = ()  # (first, last)

    faces = "datasets/synthetic_faces_112"  # rendered when a run begins and they are not there
    config.synthetic_faces = dict(
        folder=faces, size=112, train_identities=250, test_identities=60, images_per_identity=12, seed=0
    )
    config.evaluate_every_steps = 4000  # besides the start and the end
    people = dict(data=faces, groups="identity")
    config.evaluations = dict(
        expression=dict(people, label="expression", probes=("knn", "linear")),
        # The people of the two splits differ, so each is looked for among the images of the same split.
        identity=dict(data=faces, label="identity", probes=("retrieval", "knn"), train_split="test", test_split="test"),
        pose=dict(people, label="pose", probes=("ridge",), names=("yaw", "pitch", "roll")),
    )
    if arg == "demo":
        shrink(config)
    return config


def shrink(config):
    """Turns the paper's run into the laptop's."""
    config.epochs = 170
    config.batches = dict(decoder=32, face=64, pose=8)
    config.batch_size = 104
    faces = "datasets/synthetic_faces_64"
    config.synthetic_faces.update(folder=faces, size=64)
    config.data.update(folder=faces, image_size=64, num_workers=0, hierarchy=("identity",))  # there are no videos
    for evaluation in config.evaluations.values():
        evaluation.data = faces
    config.model.update(width=8, hidden_dim=256, projection_dim=64, decoder_size=32)
    config.loss.pose_negatives = 16
    config.optimizer.learning_rate = 1e-3
    config.checkpoint.every_steps = 100
    config.log_every_steps = 20
    config.evaluate_every_steps = 0
