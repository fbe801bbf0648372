"""LAFS against the official implementation: networks, patches, schedules, four steps of self-distillation, groups."""

import json

import golden
import jax
import jax.numpy as jnp
import measured
import ml_collections
import numpy as np
import pytest

from facejax import adamw, losses
from facejax.interop import lafs as interop
from facejax.interop import torch_layout
from facejax.methods import lafs, supervised
from facejax.models import patches
from facejax.models.fvit import FaceTransformer, FViT
from facejax.models.landmarks import LandmarkNetwork
from facejax.train_state import TrainState

STEPS_PER_EPOCH, EPOCHS = 2, 5
CLIP = {1: 0.1}  # at this step instead of 3.0


@pytest.fixture(scope="module")
def vectors(goldens):
    return goldens("lafs")


@pytest.fixture(scope="module")
def seed(vectors):
    return int(vectors["seed"])


def image(name, seed):
    return golden.image(name, (2, 3, 112, 112), seed).transpose(0, 2, 3, 1)


def values(vectors, network, seed):
    """State dict of a network whose keys are prefixed with its name when values are drawn."""
    shapes = json.loads(str(vectors[f"shapes/{network}"]))
    return {key: golden.param(f"{network}/{key}", tuple(shape), seed) for key, shape in shapes.items()}


LOSSES, CHANGES = 1e-6, (1e-5, 1e-5)  # in float64; norm, projection over norm


def test_landmark_network(vectors, seed):
    variables = interop.landmark_network_from_official(values(vectors, "landmark", seed))

    @jax.jit
    def run(variables, images):
        network = LandmarkNetwork()
        return network.apply(variables, images, False, method="features"), network.apply(variables, images, False)

    features, points = run(variables, 2 * image("faces", seed) - 1)
    measured.close("landmark/features in float32", features.transpose(0, 3, 1, 2), vectors["landmark/features"], 1e-4)
    measured.close("landmark/points in float32", points, vectors["landmark/points"], 1e-4)


def test_patches(vectors, seed):
    weight = golden.normal("patch_weight", [2, 3, 112, 112], seed).transpose(0, 2, 3, 1)

    def weighted_sum(images, points):
        tokens = patches.sample_patches(images, points)
        return (patches.mosaic(tokens) * weight).sum(), tokens

    # The vectors' mosaic has the first axis of a patch along the rows, which `mosaic` calls upright.
    slopes = jax.jit(jax.value_and_grad(weighted_sum, argnums=(0, 1), has_aux=True))
    (total, tokens), (image_slope, point_slope) = slopes(image("patch_image", seed), vectors["patches/points"])
    measured.close("patches/tokens in float32", tokens[:, ::7], vectors["patches/tokens"], 2e-5)
    measured.close("patches/mosaic in float32", total, vectors["patches/mosaic_weighted_sum"], 2e-5)
    measured.close("patches/grad_points in float32", point_slope, vectors["patches/grad_points"], 2e-5)
    norm, projection = golden.grad_summary("patch_image", np.asarray(image_slope).transpose(0, 3, 1, 2), seed)
    expected_norm, expected_projection = vectors["patches/grad_image"]
    assert abs(norm / expected_norm - 1) < 2e-5
    assert abs(projection - expected_projection) / expected_norm < 2e-5


def test_part_fvit(vectors, seed):
    variables = interop.recognition_from_official(values(vectors, "part_fvit", seed))
    classifier = variables["params"].pop("classifier")
    transformer = {"params": variables["params"]["transformer"]}
    network = FaceTransformer(FViT(), LandmarkNetwork())

    @jax.jit
    def run(variables, transformer, images, tokens):
        embedded = [FViT().apply(transformer, part, False) for part in tokens]
        embedding = network.apply(variables, images, False)
        points = network.apply(variables, images, False, method="points")
        return embedded, embedding, points, losses.cosface(embedding, classifier, np.array([3, 17]))

    counts = (196, 36)
    tokens = [golden.normal(f"tokens{count}", [2, count, 192], seed) for count in counts]
    embedded, embedding, points, logits = run(variables, transformer, 2 * image("faces", seed) - 1, tokens)
    for count, found in zip(counts, embedded, strict=True):
        measured.close(f"vit/tokens{count} in float32", found, vectors[f"vit/tokens{count}"], 2e-5)
    measured.close("vit/embedding in float32", embedding, vectors["vit/embedding"], 1e-4)
    measured.close("vit/points in float32", points, vectors["vit/points"], 1e-4)
    measured.close("vit/cosface_logits in float32", logits, vectors["vit/cosface_logits"], 1e-4)


def test_official_keys_are_all_used(vectors, seed):
    official = values(vectors, "part_fvit", seed)
    ours = interop.recognition_to_official(interop.recognition_from_official(official))
    for key, array in official.items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(ours.pop(key), array, err_msg=key)
    assert not ours


def make_config():
    return ml_collections.ConfigDict(
        {
            "image_size": 112,
            "mean": (0.5,) * 3,
            "std": (0.5,) * 3,
            "dtype": "float64",
            "batch_size": lafs.REFERENCE_BATCH,
            "model": {
                "size": "nano",
                "landmarks": True,
                "num_points": 196,
                "patch_size": 8,
                "geometry": "official",
                "dropout": 0.0,
                "stochastic_depth": 0.0,
            },
            "head": {"num_outputs": 500, "hidden_dim": 2048, "bottleneck_dim": 256},
            "landmark_augmentation": {"noise": 5.0, "local_points": 36},
            "global1": {"size": 112},
            "global2": {"size": 112},
            "local": {"size": 112},
            "loss": {
                "student_temperature": 0.1,
                "teacher_temperature": 0.04,
                "first_teacher_temperature": 0.07,
                "temperature_epochs": 3,
                "center_momentum": 0.9,
            },
            "optimizer": {
                "learning_rate": 5e-4,
                "final_learning_rate": 1e-6,
                "warmup_epochs": 1,
                "weight_decay": (0.04, 0.4),
                "max_norm": 3.0,
                "frozen_epochs": 1,
            },
            "ema": {"momentum": 0.996, "teacher_mode": "train"},
        }
    )


@pytest.fixture(scope="module")
def method():
    return lafs.LAFS(make_config(), steps_per_epoch=STEPS_PER_EPOCH, total_steps=STEPS_PER_EPOCH * EPOCHS)


def test_schedules(vectors, method):
    steps = np.arange(STEPS_PER_EPOCH * EPOCHS)
    with jax.enable_x64(True):
        for schedule, name in (
            (method.learning_rate, "lr"),
            (method.weight_decay, "weight_decay"),
            (method.teacher.momentum, "momentum"),
        ):
            np.testing.assert_allclose(schedule(steps), vectors[f"schedule/{name}"], rtol=1e-14, err_msg=name)
        found = method.teacher_temperature(steps)[::STEPS_PER_EPOCH]
        np.testing.assert_allclose(found, vectors["schedule/teacher_temp"], rtol=1e-14)


def views_of(index, seed):
    return [
        np.stack(
            [golden.normal(f"{kind}{view}/{index}", [3, tokens, 192], seed) for view in range(count)],
            1,
            dtype=np.float64,
        )
        for kind, count, tokens in (("global", 2, 196), ("local", 4, 36))
    ]


class Run:
    """Four steps: losses, centers and gradients on the way, states before and after as official state dicts."""

    def __init__(self, vectors, seed, method):
        self.seed = seed
        self.initial = values(vectors, "student", seed)
        params = interop.student_from_official(self.initial, size="nano")["params"]
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics={},
            center=jnp.zeros(500),
            target={"params": params},
            opt_state=method.optimizer.init(params),
        )
        rng = jax.random.key(0)
        official_optimizer = method.optimizer

        @jax.jit
        def step(state, views, max_norm):
            # The clip is the only thing that differs between the steps, and has no state.
            method.optimizer = adamw.dino_adamw(
                method.learning_rate,
                weight_decay=method.weight_decay,
                max_norm=max_norm,
                frozen=lambda path: path == "head/last_layer",
                frozen_steps=STEPS_PER_EPOCH,
            )
            student = method.network.apply({"params": state.params}, views, False)[1]
            teacher = method.network.apply(state.target, views[:1], False)[1]
            gradient = jax.grad(method.loss, has_aux=True)
            center, temperature = state.center, method.teacher_temperature(state.step)
            gradients = gradient(state.params, views, teacher, center, temperature, rng)[0]
            return method.update(state, views, rng), gradients, student, teacher

        self.metrics, self.centers = [], []
        for index in range(4):
            views = views_of(index, seed)
            (state, metrics), gradients, student, teacher = step(state, views, CLIP.get(index, 3.0))
            self.metrics.append(metrics)
            self.centers.append(state.center)
            if index == 0:
                self.gradients, self.student, self.teacher = gradients, student, teacher
        method.optimizer = official_optimizer
        self.final = {
            "student": interop.student_to_official({"params": state.params}, size="nano"),
            "teacher": interop.student_to_official(state.target, size="nano"),
        }


@pytest.fixture(scope="module")
def run(vectors, seed, method):
    with jax.enable_x64(True):
        return Run(vectors, seed, method)


def test_logits(vectors, run):
    measured.close("dino/teacher_logits", run.teacher.reshape(6, -1), vectors["dino/teacher_logits"], LOSSES)
    measured.close("dino/student_logits", run.student.reshape(18, -1), vectors["dino/student_logits"], LOSSES)


def test_losses_and_centers(vectors, run):
    for index, (metrics, center) in enumerate(zip(run.metrics, run.centers, strict=True)):
        measured.relative(f"lafs loss of step {index}", metrics["total"], vectors[f"it{index}/loss"], LOSSES)
        measured.close(f"lafs center after step {index}", center, vectors[f"it{index}/center"][0], LOSSES)


def test_first_loss_in_float32(vectors, seed, method):
    narrow = lafs.LAFS(make_config(), steps_per_epoch=STEPS_PER_EPOCH, total_steps=STEPS_PER_EPOCH * EPOCHS)
    narrow.network = narrow.network.clone(
        transformer=narrow.network.transformer.clone(dtype=jnp.float32),
        head=narrow.network.head.clone(dtype=jnp.float32),
    )
    params = jax.device_put(interop.student_from_official(values(vectors, "student", seed), size="nano"))["params"]
    views = [view.astype(np.float32) for view in views_of(0, seed)]

    @jax.jit
    def loss(params):
        teacher = narrow.network.apply({"params": params}, views[:1], False)[1]
        return narrow.loss(params, views, teacher, jnp.zeros(500), 0.07, jax.random.key(0))[0]

    measured.relative("lafs first loss in float32", loss(params), vectors["it0/loss"], 1e-5)


def test_gradients(vectors, seed, run):
    gradients = torch_layout.to_torch(interop.student_links(2), {"params": run.gradients})
    names = [str(name) for name in vectors["grad_names"]]
    assert gradients.keys() == set(names)
    found = np.array([golden.grad_summary(f"student/{name}", gradients[name], seed) for name in names])
    measured.summaries("lafs gradients", found, vectors["grad_summary"], names, CHANGES, floor=1e-8)


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_changes(vectors, seed, run, network):
    names = [str(name) for name in vectors[f"change_names/{network}"]]
    final = run.final[network] | {"backbone.loss.weight": run.initial["backbone.loss.weight"]}
    changes = {name: final[name].astype(np.float64) - run.initial[name] for name in names}
    found = np.array([golden.grad_summary(f"student/{name}", changes[name], seed) for name in names])
    expected = vectors[f"change_summary/{network}"]
    still = expected[:, 0] == 0  # the unused classifier and the scale of the last layer
    assert still.sum() == 2 and not found[still].any()
    measured.summaries(
        f"lafs changes of the {network}", found[~still], expected[~still], np.array(names)[~still], CHANGES, floor=1e-6
    )


def test_finetuning_groups(vectors, seed):
    links = {link.key: link for link in interop.recognition_links(12)}
    shapes = json.loads(str(vectors["shapes/part_fvit"]))
    group = supervised.layer_decay_groups("base", decay=0.58, weight_decay=0.1, trunk_weight_decay=0.05)
    official = {name: (scale, decay) for name, scale, decay in json.loads(str(vectors["finetune/groups"]))}
    parameters = [key for key, link in links.items() if link.path.startswith("params/")]
    assert official.keys() == set(parameters)
    for key in parameters:
        array = links[key].layout.to_ours(np.zeros(shapes[key], np.float32))
        assert group(links[key].path.removeprefix("params/"), array) == official[key], key
