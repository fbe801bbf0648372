"""Every experiment, the paper's run and the laptop's: its config makes a method that can begin."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest

from facejax import methods

FOLDER = pathlib.Path(__file__).parents[1] / "experiments"
FILES = [path for sub in ("", "alignment/", "finetune/") for path in sorted(FOLDER.glob(f"{sub}*.py"))]
FILES = [path for path in FILES if "def get_config" in path.read_text()]
EXPERIMENTS = [".".join(path.relative_to(FOLDER).with_suffix("").parts) for path in FILES]
FURTHER = [("fra_r50", "photos"), *((f"alignment.{name}", "deconvolution") for name in ("w300", "wflw"))]


@pytest.mark.parametrize(("name", "arg"), [(name, arg) for name in EXPERIMENTS for arg in (None, "demo")] + FURTHER)
def test_config_makes_a_method(name, arg):
    config = importlib.import_module(f"experiments.{name}").get_config(arg)
    method = methods.create(config, steps_per_epoch=10, total_steps=10 * config.epochs)
    side = config.data.image_size
    batch = {
        "image": jax.ShapeDtypeStruct((config.batch_size, side, side, 3), jnp.uint8),
        "size": jax.ShapeDtypeStruct((config.batch_size, 2), jnp.int32),
    }
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    assert len(jax.tree.leaves(state.params)) > 10


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_argument_that_is_none(name):
    with pytest.raises(ValueError, match=r"'demo'.* or nothing, not 'demos'"):
        importlib.import_module(f"experiments.{name}").get_config("demos")
