"""The experiments, so small that all of them run in seconds: every size is cut, and nothing else is changed.

    get_config = smaller_experiments.smaller(get_config)

at the end of an experiment's file. What is left is for the most part what XLA takes to compile.
"""

import functools

from facejax.models import mobilenet, resnet

SIZE = 40  # pixels
# Colours and blur take long to compile.
PLAIN = {"jitter_probability": 0.0, "blur_probability": 0.0}


def smaller(get_config):
    """`get_config`, followed by cuts. Only for a process of its own: it shortens the networks' trunks."""

    @functools.wraps(get_config)
    def wrapped(arg=None):
        mobilenet.BLOCKS = mobilenet.BLOCKS[:2]  # all of it takes a minute to compile
        resnet.VARIANTS["resnet18"] = (resnet.BasicBlock, (1, 1), 1)
        config = get_config(arg)
        config.epochs = 2
        config.batch_size = 8
        config.image_size = SIZE
        config.dtype = "float32"
        config.data.update(image_size=SIZE, num_workers=0)
        if "min_steps_per_epoch" in config:
            config.min_steps_per_epoch = 16
        if "synthetic_faces" in config:
            config.synthetic_faces.update(train_identities=8, test_identities=6, images_per_identity=4)
        METHODS[config.method](config)
        return config

    return wrapped


def smaller_evaluation(get_config):
    """An evaluation of one task, on the faces that `smaller` leaves."""

    @functools.wraps(get_config)
    def wrapped(arg=None):
        resnet.VARIANTS["resnet18"] = (resnet.BasicBlock, (1, 1), 1)
        config = get_config(arg)
        config.draws = 10
        config.tasks = {name: task for name, task in config.tasks.items() if name in ("identity", "regions")}
        config.synthetic_faces.update(train_identities=8, test_identities=6, images_per_identity=4)
        return config

    return wrapped


def byol(config):
    config.model.update(backbone="resnet18", width=4, output_stride=8, embedding_dim=8, hidden_dim=16)
    for view in (config.view1, config.view2):
        view.update(PLAIN, solarize_probability=0.0)


def fra(config):
    byol(config)
    config.model.update(num_regions=3, decoder_layers=1, decoder_heads=2)


def pcl(config):
    config.batch_size = 12
    config.batches.update(decoder=4, face=4, pose=3)  # the twelfth record only fills the batch
    config.model.update(width=4, hidden_dim=16, projection_dim=8, decoder_size=16)
    config.augmentation.update(PLAIN, gradient_probability=0.0)
    config.loss.pose_negatives = 3


def simclr(config):
    config.batch_size = config.batches.face = 4
    config.model.update(width=4, hidden_dim=16, projection_dim=8)
    config.augmentation.update(PLAIN)


def lafs(config):
    config.num_local = 2
    for view in (config.global1, config.global2, config.local):
        view.update(PLAIN, size=SIZE, solarize_probability=0.0)
    config.model.update(size="nano", num_points=9)
    config.landmark_augmentation.local_points = 4
    config.head.update(num_outputs=32, hidden_dim=16, bottleneck_dim=8)


def supervised(config):
    config.view.jitter_probability = 0.0
    config.model.update(size="nano", num_points=9)
    config.classifier.num_classes = 8


def finetune(config):
    config.resnet.update(variant="resnet18", width=4, output_stride=8)
    config.view.jitter_probability = 0.0
    config.erasing.probability = 0.0
    config.checkpoint.best = ()  # the demos' faces are too few for all classes
    if config.classifier.hidden_dims:
        config.classifier.hidden_dims = (8,)


def alignment(config):
    config.image_size = 32
    config.disturb.update(occlusion=0.0, blur=0.0, gamma=0.0, noise=0.0)
    if "hourglass" in config:
        config.hourglass.update(width=8, num_stacks=1, num_levels=1, stem_width=8)
    else:
        config.resnet.update(variant="resnet18", width=4, output_stride=8)
        config.deconvolution.width = 8


METHODS = {
    "alignment": alignment,
    "finetune": finetune,
    "byol": byol,
    "fra": fra,
    "pcl": pcl,
    "simclr": simclr,
    "lafs": lafs,
    "supervised": supervised,
}
