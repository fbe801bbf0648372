"""PCL and SimCLR so small that they compile quickly; photometry, which takes long to compile, is left out."""

import jax.numpy as jnp
import numpy as np

from experiments import pcl_voxceleb, simclr_voxceleb

STEPS_PER_EPOCH = 2
HOST_SIZE = 20


def get_config(experiment=pcl_voxceleb):
    config = experiment.get_config("demo")
    config.epochs = 100
    config.image_size = 16
    config.batches.update({name: {"decoder": 8, "face": 8, "pose": 2}[name] for name in config.batches})
    config.batch_size = 24 if experiment is pcl_voxceleb else 8
    config.model.update(width=4, hidden_dim=16, projection_dim=8, decoder_size=8)
    config.loss.pose_negatives = 12
    config.augmentation = {"grey_probability": 0.5}
    return config


def get_simclr_config():
    return get_config(simclr_voxceleb)


def get_batch(rng, config):
    """Random images, the lower and right quarter of some of them empty."""
    sizes = rng.integers(15, HOST_SIZE + 1, (config.batch_size, 2))
    images = rng.integers(0, 256, (config.batch_size, HOST_SIZE, HOST_SIZE, 3), np.uint8)
    inside = np.arange(HOST_SIZE) < sizes[..., None]  # [B, 2, S]
    images *= (inside[:, 0, :, None] & inside[:, 1, None, :])[..., None]
    return {"image": jnp.asarray(images), "size": jnp.asarray(sizes, jnp.int32)}
