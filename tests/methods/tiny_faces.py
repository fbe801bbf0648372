"""Small versions of the LAFS experiments, a batch for them, and steps that are compiled once.

Photometry, which takes long to compile, is left out but for what a test asks for.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import dino_face, lafs_finetune, lafs_part_fvit
from facejax import methods

SIZE, BATCH, CLASSES = 32, 4, 5
EXPERIMENTS = {"lafs": lafs_part_fvit, "dino": dino_face, "finetune": lafs_finetune}


def make_config(name, **changes):
    """The demo of an experiment at 32 px with 16 patches; changes by dotted key."""
    config = EXPERIMENTS[name].get_config("demo")
    config.image_size, config.batch_size, config.model.num_points = SIZE, BATCH, 16
    if name == "finetune":
        config.classifier.num_classes = CLASSES
        config.view.jitter_probability = 0.0
    else:
        config.num_local = 2
        config.landmark_augmentation.local_points = 6
        for view in ("global1", "global2", "local"):
            config[view].size = SIZE
            for probability in ("jitter", "grey", "blur", "solarize"):
                config[view][f"{probability}_probability"] = 0.0
        if name == "dino":
            config.local.size = 16
        config.head.update(num_outputs=32, hidden_dim=16, bottleneck_dim=8)
    config.update_from_flattened_dict(changes)
    return config


def make_method(config):
    """The method for runs of 3 epochs of 4 steps."""
    return methods.create(config, steps_per_epoch=4, total_steps=12)


def make_batch(seed=0):
    """Random images with labels."""
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)),
        "size": jnp.full((BATCH, 2), SIZE, jnp.int32),
        "identity": jnp.asarray(rng.integers(0, CLASSES, BATCH)),
    }


@functools.cache
def compiled(name):
    """Method, initial state and the compiled step of an experiment without changes."""
    method = make_method(make_config(name))
    state = jax.jit(method.init)(jax.random.key(0), make_batch())
    return method, state, jax.jit(method.train_step)


def assert_trees_equal(found, expected):
    """All arrays of two trees are the same, bit for bit."""
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), found, expected)
