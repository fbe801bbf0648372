"""Each method on a handful of small pictures: an experiment file for tests of the whole program, and its records.

--config=tests/tiny_experiment.py:METHOD,FOLDER

Networks, batches and runs are so small that what remains is what XLA takes to compile them.
"""

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import byol_r50, fra_r50, lafs_part_fvit, part_fvit_supervised, pcl_voxceleb, simclr_voxceleb
from experiments.alignment import w300
from experiments.finetune import rafdb
from facejax.data import records
from facejax.models import mobilenet, resnet

SIZE = 40
SPLITS = {"train": 48, "test": 16}
PEOPLE = 8
# Colours and blur have tests of their own, and take long to compile.
PLAIN = {"jitter_probability": 0.0, "blur_probability": 0.0}


def get_config(arg):
    """A demo's config on the records in a folder, with a network that compiles quickly; `arg` is METHOD,FOLDER.

    Only for a process of its own: it shortens networks for good.
    """
    shorten_networks(pytest.MonkeyPatch())
    method, _, folder = arg.partition(",")
    config = {function.__name__: function for function in (fra, pcl, lafs, supervised)}[method]()
    config.image_size = SIZE
    config.data.update(folder=folder, image_size=SIZE)
    config.checkpoint.update(every_steps=3, keep=2)
    config.log_every_steps = 1
    config.evaluations = {"identity": {"label": "identity", "probes": ("knn",), "data": folder, "k": 3}}
    return config


def shorten_networks(patch):
    """Leaves few of the blocks that compilation of the published networks, which others test, is spent on.

    Args:
      patch: a `pytest.MonkeyPatch`, which restores them.
    """
    patch.setitem(resnet.VARIANTS, "resnet18", (resnet.BasicBlock, (1, 1), 1))
    patch.setattr(mobilenet, "BLOCKS", mobilenet.BLOCKS[2:5])  # both kernels, with and without stride and squeeze


def fra():
    """15 steps with the paper's losses and schedule."""
    config = fra_r50.get_config("demo")
    config.epochs, config.batch_size = 5, 16
    config.model.update(width=4, output_stride=8, embedding_dim=8, hidden_dim=16, num_regions=3)
    config.model.update(decoder_layers=1, decoder_heads=2)
    for view in (config.view1, config.view2):
        view.update(PLAIN, solarize_probability=0.0)
    paper = fra_r50.get_config()
    config.loss = paper.loss
    config.optimizer = paper.optimizer
    config.optimizer.warmup_epochs = 2
    return config


def pcl():
    """12 steps of all three updates."""
    config = pcl_voxceleb.get_config("demo")
    config.epochs, config.batch_size = 6, 12
    config.batches.update(decoder=4, face=4, pose=3)  # the twelfth record only fills the batch
    config.model.update(width=4, hidden_dim=16, projection_dim=8, decoder_size=16)
    config.augmentation.update(PLAIN, gradient_probability=0.0)
    config.loss.pose_negatives = 3
    return config


def lafs():
    """12 steps of stage 2, half of them before the last layer is let go."""
    config = lafs_part_fvit.get_config("demo")
    config.epochs, config.batch_size, config.num_local = 2, 8, 2
    config.landmark_network = "random"
    for view in (config.global1, config.global2, config.local):
        view.update(PLAIN, size=SIZE, solarize_probability=0.0)
    config.model.update(num_points=9, dropout=0.1, stochastic_depth=0.1)
    config.landmark_augmentation.local_points = 4
    config.head.update(num_outputs=32, hidden_dim=16, bottleneck_dim=8)
    return config


def supervised():
    """12 steps on four pictures of each person, with dropout, RandAugment, erasing and mixup."""
    config = part_fvit_supervised.get_config("demo")
    config.epochs, config.batch_size = 3, 8
    config.data.images_per_class = 4
    config.view.jitter_probability = 0.0
    config.rand_augment.magnitude = 2.0
    config.erasing.probability = 0.5
    config.mixup.probability = 0.5
    config.model.update(num_points=9, dropout=0.1, stochastic_depth=0.1)
    config.classifier.num_classes = PEOPLE
    return config


def byol():
    """A step or two."""
    return baseline(byol_r50)


def simclr():
    """A step or two."""
    return baseline(simclr_voxceleb)


def baseline(experiment):
    """The demo of a method that others are compared with."""
    import smaller_experiments  # not where a run of its own reads this file

    config = experiment.get_config("demo")
    smaller_experiments.METHODS[config.method](config)
    config.epochs = 2
    return config


def finetune():
    """12 steps that tell the people apart."""
    config = rafdb.get_config("demo")
    config.epochs, config.batch_size = 2, 8
    config.data.label = "identity"
    config.view.jitter_probability = 0.0
    config.erasing.probability = 0.5
    config.initialize_from = "random"
    config.classifier.update(num_classes=PEOPLE, hidden_dims=(8,), dropout=0.1)
    config.resnet.update(width=4, output_stride=8)
    config.checkpoint.best = ()
    return config


def alignment():
    """12 steps of one hourglass, with every disturbance."""
    config = w300.get_config("demo")
    config.epochs, config.batch_size, config.image_size = 2, 8, SIZE
    config.disturb.update(occlusion=0.4, blur=0.3)
    config.hourglass.update(width=4, num_stacks=1, num_levels=1, stem_width=8)
    config.optimizer.milestones = (1,)
    config.checkpoint.best = ()
    return config


def write_records(folder):
    """Random pictures of "people" that differ in colour, as PNG, with random landmarks."""
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "identity": np.int64,
        "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
    }
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 200, (PEOPLE, 1, 1, 3))

    def examples(count):
        for index in range(count):
            image = colors[index % PEOPLE] + rng.integers(0, 55, (SIZE, SIZE, 3))
            yield {
                "image": cv2.imencode(".png", image.astype(np.uint8))[1].tobytes(),
                "identity": index % PEOPLE,
                "landmarks": rng.uniform(0, SIZE, (68, 2)).astype(np.float32),
            }

    splits = {split: list(examples(count)) for split, count in SPLITS.items()}
    records.write(folder, records.Info("tiny", features), splits)
