"""FRA on a handful of small pictures: an experiment file for tests of the whole program, and its records."""

import cv2
import numpy as np
import tensorflow_datasets as tfds

from experiments import fra_r50
from facejax.data import records

SIZE = 40
SPLITS = {"train": 48, "test": 16}


def get_config(folder):
    """The demo's config on the records in `folder`, with a network that compiles quickly."""
    config = fra_r50.get_config("demo")
    config.data.folder = folder
    config.epochs, config.batch_size, config.image_size, config.data.image_size = 5, 16, SIZE, SIZE
    config.model.update(width=4, embedding_dim=8, decoder_heads=2, hidden_dim=16, num_regions=3)
    for view in (config.view1, config.view2):  # photometry has tests of its own, and takes long to compile
        view.update(jitter_probability=0.0, blur_probability=0.0, solarize_probability=0.0)
    paper = fra_r50.get_config()
    config.loss = paper.loss
    config.optimizer = paper.optimizer
    config.optimizer.warmup_epochs = 2
    config.checkpoint.update(every_steps=3, keep=2)
    config.log_every_steps = 1
    evaluation = {"label": "identity", "probes": ("knn",), "data": folder, "k": 3}
    config.evaluations = {"identity": evaluation}
    return config


def write_records(folder):
    """Random pictures of four "people" that differ in colour, as PNG."""
    features = {"image": tfds.features.Image(encoding_format="png"), "identity": np.int64}
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 200, (4, 1, 1, 3))

    def examples(count):
        for index in range(count):
            image = colors[index % 4] + rng.integers(0, 55, (SIZE, SIZE, 3))
            yield {"image": cv2.imencode(".png", image.astype(np.uint8))[1].tobytes(), "identity": index % 4}

    splits = {split: list(examples(count)) for split, count in SPLITS.items()}
    records.write(folder, name="tiny", features=features, splits=splits)
