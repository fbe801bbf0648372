"""Probes trained by the schedules of the papers, on features that stay as they are."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from facejax import schedules

LOOKS = 5  # epochs from one look at the test split to the next


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a probe is trained.

    Attributes:
      optimizer: "sgd" (momentum 0.9), "adam" or "adamw" (decay 0.01).
      rate: peak learning rate.
      schedule: "warmup" into a cosine to 1e-6, by iteration; "cosine" to 0, by epoch; "constant".
      epochs: passes over the training split.
      batch_size: images of a step.
      normalized: whether a batch norm stands before the linear layer, which then starts as PyTorch's does; else its
        weights are N(0, 0.01) and its biases 0.
    """

    optimizer: str
    rate: float
    schedule: str
    epochs: int
    batch_size: int
    normalized: bool = False


RECIPES = {
    "fra": Recipe("sgd", 30.0, "warmup", 100, 256),  # FRA's main_fer.py, linear probe
    "pcl": Recipe("adam", 1e-2, "cosine", 300, 256),  # PCL, expression at 100 px
    "pcl_pose": Recipe("adamw", 1e-3, "constant", 300, 128, normalized=True),  # PCL, pose at 256 px
}


class Trained(NamedTuple):
    """Outputs [m, A] for the test split: of the last epoch, and of the best of those that were looked at."""

    last: np.ndarray
    best: np.ndarray
    best_epoch: int


def train(recipe: Recipe, features, targets, test, test_targets, *, seed: int = 0) -> Trained:
    """Trains a linear layer, by cross-entropy for integer targets and by L1 for real ones.

    Features may be memory-mapped: batches are read from them in turn.

    Args:
      recipe: one of `RECIPES`, or another.
      features: [n, D].
      targets: [n] integers, 0 to classes - 1; or [n, A] float.
      test: [m, D].
      test_targets: [m] or [m, A]; they choose `best`, which published numbers often are, and nothing else.
      seed: of initial values and order.
    """
    targets, test_targets = np.asarray(targets), np.asarray(test_targets)
    width = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    size = min(recipe.batch_size, len(features))
    steps = len(features) // size
    optimizer = _optimizer(recipe, steps)
    params, statistics = _init(jax.random.key(seed), features.shape[1], width, recipe.normalized)
    state = optimizer.init(params)

    @jax.jit
    def step(params, statistics, state, inputs, targets):
        (_, statistics), gradient = jax.value_and_grad(_loss, has_aux=True)(params, statistics, inputs, targets)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), statistics, state

    rng, best = np.random.default_rng(seed), (np.inf, None, 0)
    for epoch in tqdm.trange(1, recipe.epochs + 1, desc="probe", unit=" epochs", delay=3):
        order = rng.permutation(len(features))
        for start in range(0, steps * size, size):
            rows = np.sort(order[start : start + size])  # in the order of the disk
            params, statistics, state = step(params, statistics, state, np.asarray(features[rows]), targets[rows])
        if epoch % LOOKS == 0 or epoch == recipe.epochs:
            outputs = _outputs(params, statistics, test)
            error = _error(outputs, test_targets)
            if error < best[0]:
                best = error, outputs, epoch
    return Trained(outputs, best[1], best[2])


def _optimizer(recipe: Recipe, steps: int) -> optax.GradientTransformation:
    total = recipe.epochs * steps
    rate = {
        "warmup": lambda: schedules.warmup_into_cosine(
            recipe.rate, 1e-6, warmup_steps=min(5, recipe.epochs - 1) * steps, total_steps=total
        ),
        "cosine": lambda: lambda count: recipe.rate * (1 + jnp.cos(jnp.pi * (count // steps) / recipe.epochs)) / 2,
        "constant": lambda: recipe.rate,
    }[recipe.schedule]()
    if recipe.optimizer == "sgd":
        return optax.sgd(rate, momentum=0.9)
    return optax.adamw(rate, weight_decay=0.01) if recipe.optimizer == "adamw" else optax.adam(rate)


def _init(key, dimensions: int, outputs: int, normalized: bool):
    shape = (dimensions, outputs)
    if not normalized:
        return {"kernel": 0.01 * jax.random.normal(key, shape), "bias": jnp.zeros(outputs)}, None
    bound, (one, other) = dimensions**-0.5, jax.random.split(key)
    params = {
        "kernel": jax.random.uniform(one, shape, minval=-bound, maxval=bound),
        "bias": jax.random.uniform(other, (outputs,), minval=-bound, maxval=bound),
        "scale": jnp.ones(dimensions),
        "shift": jnp.zeros(dimensions),
    }
    return params, {"mean": jnp.zeros(dimensions), "var": jnp.ones(dimensions)}


def _forward(params, inputs, mean, var):
    if mean is not None:
        inputs = (inputs - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["shift"]
    return jnp.matmul(inputs, params["kernel"], precision="highest") + params["bias"]


def _loss(params, statistics, inputs, targets):
    mean = var = None
    if statistics is not None:
        mean, var = inputs.mean(0), inputs.var(0)
        unbiased = var * len(inputs) / max(len(inputs) - 1, 1)  # PyTorch's running variance
        statistics = {
            "mean": 0.9 * statistics["mean"] + 0.1 * mean,
            "var": 0.9 * statistics["var"] + 0.1 * unbiased,
        }
    outputs = _forward(params, inputs, mean, var)
    if targets.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean(), statistics
    return jnp.abs(outputs - targets).mean(), statistics


def _outputs(params, statistics, inputs) -> np.ndarray:
    statistics = statistics or {"mean": None, "var": None}
    parts = [inputs[start : start + 1024] for start in range(0, len(inputs), 1024)]
    return np.concatenate([np.asarray(_forward(params, np.asarray(part), **statistics)) for part in parts])


def _error(outputs, targets) -> float:
    wrong = outputs.argmax(1) != targets if targets.ndim == 1 else np.abs(outputs - targets)
    return float(wrong.mean())
