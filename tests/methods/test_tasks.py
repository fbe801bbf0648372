"""Fine-tuning and alignment as whole runs, tiny, and what is wrong with them before they begin."""

import json

import jax
import numpy as np
import pytest
import tiny_experiment
from random_inputs import generator

import facejax
from facejax import methods, train
from facejax.architectures import ARCHITECTURES
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.preprocessing import Preprocessing

pytestmark = pytest.mark.usefixtures("quick_compilation", "short_networks")
SIZE = tiny_experiment.SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "tiny"
    tiny_experiment.write_records(folder)
    return folder


def on(folder, config, **changes):
    """A tiny experiment on the records in a folder."""
    config.data.update(folder=str(folder), image_size=SIZE)
    config.image_size = SIZE
    del config.synthetic_faces
    for evaluation in config.evaluations.values():
        evaluation.data = str(folder)
    config.update_from_flattened_dict(changes)
    return config


def tuning(folder, **changes):
    config = on(folder, tiny_experiment.finetune(), **changes)
    config.evaluations.expression.label = config.data.label
    return config


@pytest.fixture(scope="module")
def tuned(folder, tmp_path_factory):
    """Workdir and results of a run that was evaluated twice, and the encoder that it started from."""
    workdir = tmp_path_factory.mktemp("runs") / "tuned"
    encoder = Encoder.random(
        "resnet", {"backbone": "resnet18", "width": 4, "output_stride": 8}, Preprocessing(SIZE), seed=7
    )
    encoder.save(workdir.parent / "encoder")
    config = tuning(folder, epochs=10, evaluate_every_steps=30, initialize_from=str(workdir.parent / "encoder"))
    config.data.balanced = True
    config.optimizer.update(learning_rate=0.02, head_learning_rate=0.02)
    config.checkpoint.best = ("expression/logits/accuracy",)
    return workdir, train.train(config, workdir), encoder


def test_fine_tuning_reports_the_last_state_and_the_best(tuned):
    workdir, results, _ = tuned
    accuracy = {
        step: json.loads((workdir / f"evaluations/step_{step:08d}.json").read_text())["expression/logits/accuracy"]
        for step in (0, 30, 60)
    }
    assert results["trained"]["expression/logits/accuracy"] == accuracy[60]
    assert results["best"]["metrics"]["expression/logits/accuracy"] == max(accuracy[30], accuracy[60]) > 0.3
    assert results["best"]["step"] == max((30, 60), key=lambda step: (accuracy[step], -step))
    assert json.loads((workdir / "results.json").read_text())["best"] == results["best"]


def test_a_tuned_network_is_an_encoder(tuned):
    workdir, results, _ = tuned
    encoder = facejax.load(workdir)
    assert encoder.kinds == ("features", "logits") and encoder.dimensions == {"features": 8, "logits": 8}
    assert facejax.load(workdir / "best").card["steps"] == results["best"]["step"]
    again = facejax.load(workdir / "encoder")
    images = generator().integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(again.embed(images, "logits"), encoder.embed(images, "logits"))


def test_the_untrained_network_has_the_encoder(folder, tuned):
    _, _, encoder = tuned
    config = tuning(folder, initialize_from=str(tuned[0].parent / "encoder"))
    method = methods.create(config, steps_per_epoch=1, total_steps=2)
    state = jax.jit(method.init)(jax.random.key(0), {})
    started = method.start_from(state)
    for kind, tree in encoder.variables.items():
        jax.tree.map(np.testing.assert_array_equal, started.variables[kind]["backbone"], tree["backbone"])
    jax.tree.map(np.testing.assert_array_equal, started.params["head"], state.params["head"])


def test_alignment_judges_its_average(folder, tmp_path):
    config = on(folder, tiny_experiment.alignment())
    config.average.half_life = 8.0
    config.landmarks.edges = False  # which takes long to compile
    results = train.train(config, tmp_path)
    names = {"nme", "nme_pupils", *(f"{name}_{at}" for name in ("failure_rate", "auc") for at in (5, 8, 10))}
    assert {f"landmarks/landmarks/{name}" for name in names} == results["trained"].keys()
    assert results["trained"]["landmarks/landmarks/nme"] < results["untrained"]["landmarks/landmarks/nme"]
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"step_00000012_landmarks_errors.png", "step_00000012_alignment.png"} <= pictures
    encoder = facejax.load(tmp_path)
    points = encoder.landmarks([generator().integers(0, 256, (50, 60, 3), np.uint8)])
    assert points.shape == (1, 68, 2) and -1 < points.min() < points.max() < SIZE


def save(folder, name, settings, size=SIZE):
    """Writes an encoder whose weights are 0."""
    architecture = ARCHITECTURES[name](**settings)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), architecture.shapes(size))
    Encoder(architecture, zeros, Preprocessing(size)).save(folder)
    return str(folder)


def test_encoders_that_do_not_fit(folder, tmp_path):
    def refused(source, message, config=None):
        config = config or tuning(folder, initialize_from=source)
        with pytest.raises(UserError, match=message):
            methods.create(config, steps_per_epoch=1, total_steps=2).check_start()

    refused(str(tmp_path / "nowhere"), "there is no .*nowhere")
    pcl = save(tmp_path / "pcl", "pcl", {"width": 2, "decoder_size": 0}, 64)
    refused(pcl, r"pcl does not fit its network: .*backbone.*found nothing")
    wide = {"backbone": "resnet18", "width": 8, "output_stride": 8}
    refused(save(tmp_path / "wide", "resnet", wide), r"wide does not fit its network: .*needed \(4,\)")
    hourglass = on(folder, tiny_experiment.alignment(), initialize_from=str(tmp_path / "wide"))
    refused(None, "wide does not fit its network", hourglass)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initialize_from": ""}, r"config\.initialize_from is empty: .*an encoder, or to 'random'"),
        ({"classifier.num_classes": 7}, r"num_classes = 7 does not fit the labels 'identity' .*: they are 0 to 7"),
        ({"classifier.num_classes": 9}, "no image has the label 8; add some, or number the classes anew"),
        ({"classifier.targets": "attributes"}, r"'identity' is one number for an image, but .* wants \[8\]"),
        ({"data.label": "landmarks"}, r"'landmarks' is \[68, 2\] for an image, but .* wants one number"),
        ({"classifier.targets": "attributes", "data.balanced": True}, "attributes are no classes"),
        ({"optimizer.warmup_epochs": 2}, r"warmup_epochs = 2: must be less than config\.epochs \(2\)"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(folder, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train.train(tuning(folder, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks.points": "wflw"}, r"'landmarks' of .* is \[68, 2\] for an image, but points='wflw' are \[98, 2\]"),
        ({"landmarks.field": "points"}, "has no field 'points'"),
        ({"image_size": 44}, r"image_size = 44: must be a multiple of 8"),
        ({"initialize_from": ""}, "a stacked hourglass, or to 'random'"),
    ],
)
def test_what_cannot_be_aligned_is_one_line(folder, tmp_path, changes, message):
    config = on(folder, tiny_experiment.alignment(), **changes)
    with pytest.raises(UserError, match=message):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
