"""The encoder that a run has trained, from its workdir."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
from absl import logging
from etils import epath

from facejax import checkpoints, encoder_folder, methods
from facejax.config_schema.check import check_keys
from facejax.encoder import Encoder, load
from facejax.errors import UserError
from facejax.evaluation import metrics_file
from facejax.methods import Method
from facejax.progress import phase
from facejax.train_state import TrainState

FOLDER = "encoder"  # in a workdir: the encoder at the end of the run


def read(workdir: epath.Path) -> Encoder:
    """The encoder of the newest intact checkpoint, or that of the end of the run if it is as new."""
    file = workdir / "config.json"
    if not file.exists() and workdir.name == "best":  # the best state is in a folder of its workdir
        file = workdir.parent / "config.json"
    config = _read_config(file, workdir)
    checkpoint = checkpoints.newest_of(workdir)
    step = int(checkpoint.name)
    if encoder_folder.exists(workdir / FOLDER):
        found = load(workdir / FOLDER)
        if found.card.get("steps") == step:
            return found
    try:
        check_keys(config)
    except UserError as error:
        raise UserError(f"{file} was not written by this version of facejax, or was edited: {error}") from error
    method = methods.create(config, steps_per_epoch=1, total_steps=config.epochs)
    with phase(f"Reading the encoder of step {step} from {workdir}"):
        variables = _read_variables(method, checkpoint)
    trained, untrained = (metrics_file.read(metrics_file.path(file.parent, at)) for at in (step, 0))
    card = card_of_run(config, step, trained, untrained) | {"source": str(workdir)}
    logging.info("Loaded the encoder of step %d of a run of %s", step, config.method)
    return Encoder.create(method.architecture, variables, method.preprocessing, card)


def _read_config(file: epath.Path, workdir: epath.Path) -> ml_collections.ConfigDict:
    if not file.exists():
        raise UserError(f"{workdir} has neither a config.json nor a facejax.json: it is no workdir, and no encoder's")
    try:
        config = json.loads(file.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("it is no group of keys")
        return ml_collections.ConfigDict(config)
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error!s:.100}): put back the config of this run") from error


def _read_variables(method: Method, checkpoint: epath.Path) -> dict[str, Any]:
    """The part of a checkpoint that the encoder needs."""
    names = checkpoints.saved_names(checkpoint)
    state = TrainState(**{field.name: names.get(field.name) for field in dataclasses.fields(TrainState)})
    try:
        wanted = method.eval_variables(state)
    except (KeyError, TypeError) as error:
        raise UserError(f"{checkpoint} is not of the run that config.json describes: it has no {error}") from error
    needed = _common(method.architecture.shapes(method.preprocessing.size), wanted)
    arrays = checkpoints.read_arrays(checkpoint, jax.tree.leaves(needed))
    return jax.tree.map(lambda name: arrays[name], needed)


def _common(shapes: Mapping, found: Any) -> dict[str, Any]:
    """The part of `found` with names in `shapes`."""
    if not isinstance(found, Mapping):
        return {}
    return {
        name: _common(tree, found[name]) if isinstance(tree, Mapping) else found[name]
        for name, tree in shapes.items()
        if name in found
    }


def card_of_run(
    config, step: int, metrics: Mapping[str, float] | None, untrained: Mapping[str, float] | None
) -> dict[str, Any]:
    """The card of a run's encoder after `step` steps.

    Args:
      config: of the run.
      step: number of steps taken.
      metrics: of the encoder at that step, if it was evaluated.
      untrained: of the encoder before the first step, likewise.
    """
    card = {
        "method": config.method,
        "steps": step,
        "data": {"folder": str(config.data.folder), "split": config.data.split},
        "training": json.loads(config.to_json_best_effort()),
    }
    measured = {"metrics": metrics, "untrained_metrics": untrained}
    return card | {name: dict(values) for name, values in measured.items() if values}
