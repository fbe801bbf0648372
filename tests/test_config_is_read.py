"""Every key of a config is read by a run: traced, with what a step and an encoder compute left out."""

import importlib

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import smaller_experiments
import tensorflow_datasets as tfds
import tiny_experiment

from experiments import part_fvit_supervised
from facejax import methods, train
from facejax.data import records
from facejax.encoder import Encoder
from facejax.evaluator import Evaluator

# Read for evaluations, which are left out here (test_config_schema.py), and for rendering (test_embedded.py).
ELSEWHERE = ("evaluations.", "synthetic_faces.")


class Traced(ml_collections.ConfigDict):
    """A config that notes which of its values are read."""

    def __getitem__(self, key):
        value = super().__getitem__(key)
        if not isinstance(value, Traced):
            object.__getattribute__(self, "read").add(object.__getattribute__(self, "prefix") + key)
        return value


def traced(config, read, prefix=""):
    copy = Traced()
    for name, value in (("read", read), ("prefix", prefix)):
        object.__setattr__(copy, name, value)
    for key in config:
        inner = isinstance(config[key], ml_collections.ConfigDict)
        copy[key] = traced(config[key], read, f"{prefix}{key}.") if inner else config[key]
    return copy


def keys(config, prefix=""):
    for key in config:
        if isinstance(config[key], ml_collections.ConfigDict):
            yield from keys(config[key], f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "tiny"
    tiny_experiment.write_records(folder)
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Records with the labels of synthetic faces."""
    folder, rng = tmp_path_factory.mktemp("records") / "faces", np.random.default_rng(0)
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "expression": np.int64,
        "attributes": tfds.features.Tensor(shape=(19,), dtype=np.uint8),
        "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
    }
    image = cv2.imencode(".png", rng.integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    rows = [
        {
            "image": image,
            "expression": index % 7,
            "attributes": rng.integers(0, 2, 19, np.uint8),
            "landmarks": rng.uniform(0, 64, (68, 2)).astype(np.float32),
        }
        for index in range(16)
    ]
    records.write(folder, records.Info("faces", features), {"train": rows, "test": rows})
    return str(folder)


@pytest.fixture
def without_computing(monkeypatch):
    """Steps and encoders are traced and give zeros; what would read a config as a whole does not."""
    monkeypatch.setattr(train, "check_workdir", lambda workdir, config: "")
    monkeypatch.setattr(train, "claim_workdir", lambda workdir, config: None)
    monkeypatch.setattr(train.workdir_encoder, "card_of_run", lambda *_: {})
    prepare_state, check = train.prepare_state, train.check

    def zeros(tree):
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if x is not None else None, tree)

    def prepare(config, method, mesh, batch):
        _, abstract = prepare_state(config, method, mesh, batch)
        return lambda: zeros(abstract), abstract

    def compile_step(method, mesh, batch, abstract_state):
        with jax.set_mesh(mesh):
            _, metrics = jax.eval_shape(method.train_step, abstract_state, batch, jax.random.key(0))
        return lambda state, batch, rng: (state.replace(step=state.step + 1), zeros(metrics))

    def evaluate(self, step, state):
        encoder = Encoder.of_method(self._method, state)
        jax.eval_shape(encoder.apply, encoder.variables, self._faces)
        jax.eval_shape(encoder.compiled("pictures"), encoder.variables, self._faces)
        return {}

    monkeypatch.setattr(train, "prepare_state", prepare)
    monkeypatch.setattr(train, "compile_step", compile_step)
    monkeypatch.setattr(train, "check", lambda config: check(plain(config)))
    monkeypatch.setattr(Evaluator, "evaluate", evaluate)


def plain(config):
    """A copy of a traced config that is not traced, without a trace of being copied."""
    read = object.__getattribute__(config, "read")
    before = set(read)
    copy = ml_collections.ConfigDict(config.to_dict())
    read &= before
    return copy


def variants(method, config):
    """Configs of a method whose code reads, all together, every key."""
    yield config
    if method == "supervised":
        config.optimizer.groups = "layer_decay"
    elif method == "finetune":
        del config.resnet
        config.transformer = part_fvit_supervised.get_config("demo").model
        config.transformer.num_points = 9
    elif method == "alignment":
        del config.hourglass
        config.resnet = {"variant": "resnet18", "width": 4, "output_stride": 8}
        config.deconvolution = {"width": 8, "backbone_factor": 0.1}
    else:
        return
    yield config


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_every_key(method, folder, monkeypatch, tmp_path, without_computing):
    tiny_experiment.shorten_networks(monkeypatch)
    config = getattr(tiny_experiment, method)()
    config.image_size = tiny_experiment.SIZE
    config.data.update(folder=str(folder), image_size=tiny_experiment.SIZE)
    if method == "lafs":
        config.data.class_share = 0.5
    config.evaluations = ml_collections.ConfigDict()
    if "synthetic_faces" in config:
        del config.synthetic_faces
    read, wanted = set(), set()
    for number, variant in enumerate(variants(method, config)):
        train.train(traced(variant, read), str(tmp_path / f"run_{number}"))
        wanted |= {key for key in keys(variant) if not key.startswith(ELSEWHERE)}
    assert wanted - read == set()


TASKS = (
    "finetune.affectnet", "finetune.celeba", "finetune.fer2013", "finetune.ferplus", "alignment.wflw",
)  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_demo_runs_to_its_end(name, faces, monkeypatch, tmp_path, without_computing):
    """Those of fine-tuning and alignment that no documented command runs."""
    tiny_experiment.shorten_networks(monkeypatch)
    config = importlib.import_module(f"experiments.{name}").get_config(
        "deconvolution_demo" if name == "alignment.wflw" else "demo"
    )
    smaller_experiments.METHODS[config.method](config)
    config.update(epochs=2, batch_size=8, initialize_from="random", log_every_steps=100)
    config.data.folder, config.checkpoint.best = faces, ()
    for evaluation in config.evaluations.values():
        evaluation.data = faces
    train.train(traced(config, set()), str(tmp_path / "run"))
    assert (tmp_path / "run" / "results.json").exists()
