"""PCL against the official implementation: forwards, three updates an iteration with gradients, changes.

The losses given alone are in test_losses.py.
"""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import measured
import ml_collections
import numpy as np
import pytest

from facejax.interop import pcl as interop
from facejax.interop import torch_layout
from facejax.methods import pcl

BATCHES = {"decoder": 4, "face": 4, "pose": 2}
NEGATIVES = 5
ITERATIONS = 2
LOSSES, CHANGES = 1e-6, (1e-5, 1e-5)  # in float64; norm, projection over norm


def make_config(learning_rate, dtype):
    return ml_collections.ConfigDict(
        {
            "image_size": 64,
            "dtype": dtype,
            "epochs": 10,
            "batch_size": sum(BATCHES.values()),
            "batches": BATCHES,
            "model": {"width": 64, "hidden_dim": 2048, "projection_dim": 512, "decoder_size": 64},
            "loss": {
                "noise": 0.4,
                "temperature": 0.07,
                "mixing": 1.6,
                "pose_negatives": NEGATIVES,
                "dynamic_weights": True,
                "negatives_of": "own_image",
            },
            "optimizer": {"learning_rate": learning_rate, "weight_decay": 1e-3, "without_gradient": "skip"},
        }
    )


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, -3, -1), jnp.float64)


class Run:
    """Everything computed once: forwards, both iterations, gradients of the first."""

    def __init__(self, vectors):
        self.vectors, self.seed = vectors, int(vectors["seed"])
        rate = float(vectors["learning_rate"])
        self.method = pcl.PCL(make_config(rate, "float64"), steps_per_epoch=10, total_steps=10)
        self.narrow = pcl.PCL(make_config(rate, "float32"), steps_per_epoch=10, total_steps=10)
        self.initial = golden.state_dict(json.loads(str(vectors["shapes"])), self.seed)
        variables = interop.from_official(self.initial)
        self.variables32 = jax.device_put(variables)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        self.state = self.method.new_state(variables["params"], {"batch_stats": variables["batch_stats"]})
        faces, larger = (self.image(*args).astype(jnp.float32) for args in (("faces", 6), ("faces100", 2, 100)))
        self.forwards = jax.jit(self.forward)(self.variables32, faces, larger)

        @jax.jit
        def step(state, inputs):
            """An iteration, and once more with its gradients, which compiles to the same operations."""
            params, statistics, adam = state.params, state.statistics, state.opt_state["adam"]
            rate, gradients = self.method.learning_rate(state.step), {}
            for name in pcl.UPDATES:
                gradients[name], _, _, statistics = self.method.gradients(name, params, statistics, inputs[name])
                params, adam = self.method.optimizer.update(gradients[name], adam, params, rate)
            return self.method.update(state, inputs), gradients

        state, self.metrics = self.state, []
        for iteration in range(ITERATIONS):
            (state, metrics), gradients = step(state, self.inputs(iteration))
            self.metrics.append(metrics)
            if iteration == 0:
                self.gradients = gradients
        self.final = interop.to_official(state.variables, num_updates=ITERATIONS)

    def image(self, name, count, size=64):
        return nhwc(golden.image(name, (count, 3, size, size), self.seed))

    def mixing(self, kind, iteration, shape):
        return {
            "mix": golden._rng(self.seed, f"mix_{kind}/{iteration}").beta(1.6, 1.6, shape),
            "permutation": golden._rng(self.seed, f"perm_{kind}/{iteration}").permutation(shape[1]),
        }

    def inputs(self, i):
        decoder, face, pose = BATCHES.values()
        noise = [
            0.4 * nhwc(golden.normal(f"{name}/{i}", (decoder, 3, 64, 64), self.seed))
            for name in ("noise_source", "noise_flip")
        ]

        def views(name, count):
            return jnp.stack([self.image(f"{name}{view}/{i}", count) for view in range(2)])

        return {
            "decoder": {"source": self.image(f"source/{i}", decoder), "noise": jnp.stack(noise)},
            "face": {"views": views("face_view", face), **self.mixing("face", i, (2 * face, 2 * face - 2))},
            "pose": {
                "views": views("pose_view", pose),
                "negatives": self.image(f"pose_neg/{i}", pose * NEGATIVES),
                **self.mixing("pose", i, (pose, NEGATIVES)),
            },
        }

    def forward(self, variables, images, larger):
        apply = functools.partial(self.narrow.network.apply, variables)
        features = apply(images)
        return features | {
            "face_proj": apply(features["face"], "face", train=False, method="project"),
            "pose_proj": apply(features["pose"], "pose", train=False, method="project"),
            "decoded": apply(features["face"], features["pose"], train=False, method="decode"),
            "trunk100": apply(larger)["trunk"],
        }

    def summaries(self, names, arrays):
        return np.array([golden.grad_summary(name, arrays[name], self.seed) for name in names])


@pytest.fixture(scope="module")
def run(goldens):
    with jax.enable_x64(True):
        return Run(goldens("pcl"))


def official_order(features, channels=128):
    """Flattened features from H, W, C to C, H, W order."""
    side = int((features.shape[1] / channels) ** 0.5)
    return features.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(len(features), -1)


@pytest.mark.parametrize("name", ["trunk", "face", "pose", "face_proj", "pose_proj", "decoded", "trunk100"])
def test_inference(run, name):
    found, expected = np.asarray(run.forwards[name]), run.vectors[f"eval/{name}"]
    if name == "decoded":
        found = found.transpose(0, 3, 1, 2)
    elif not name.endswith("proj"):
        found = official_order(found)
    if name == "trunk100":
        assert found.shape == tuple(run.vectors["eval/trunk100_shape"])
        found = found[:, ::16]
    measured.close(f"pcl eval/{name} in float32", found, expected, 2e-5)


@pytest.mark.parametrize("iteration", range(ITERATIONS))
def test_losses(run, iteration):
    metrics = run.metrics[iteration]
    names = ["decoder", "l1_f_s", "l1_s_f", "l1_s_s", "l1_f_f", "orthogonality"]
    found = np.array([float(metrics[name]) for name in names])
    measured.relative(
        f"pcl decoder's losses of iteration {iteration}", found, run.vectors[f"it{iteration}/pfe"], LOSSES
    )
    for name in ("face", "pose"):
        expected = run.vectors[f"it{iteration}/{name}"]
        measured.relative(f"pcl {name} loss of iteration {iteration}", metrics[name], expected, LOSSES)
    assert metrics["face_weight"] == metrics["pose_weight"] == 1


def test_first_loss_in_float32(run):
    with jax.enable_x64(True):
        inputs = run.inputs(0)["decoder"]
    narrow = jax.tree.map(lambda x: np.asarray(x, np.float32), inputs)
    statistics = {"batch_stats": run.variables32["batch_stats"]}
    loss, _, _ = jax.jit(run.narrow.decoder_loss)(run.variables32["params"], statistics, narrow)
    measured.relative("pcl first loss in float32", loss, run.vectors["it0/pfe"][0], 1e-5)


@pytest.mark.parametrize("update", pcl.UPDATES)
def test_gradients(run, update):
    kind = {"decoder": "pfe"}.get(update, update)
    names = [str(name) for name in run.vectors[f"it0/{kind}/grad_names"]]
    parts = tuple(f"params/{part}/" for part in pcl.UPDATES[update])
    links = [link for link in interop.network_links() if link.path.startswith(parts)]
    gradients = torch_layout.to_torch(links, {"params": run.gradients[update]})
    assert set(names) == set(gradients)
    expected = run.vectors[f"it0/{kind}/grad_summary"]
    found = run.summaries(names, gradients)
    measured.summaries(f"pcl gradients of the {update} update", found, expected, names, CHANGES, floor=1e-8)


def test_changes(run):
    names = [str(name) for name in run.vectors["change_names"]]
    changes = {name: run.final[name].astype(np.float64) - run.initial[name] for name in names}
    found, expected = run.summaries(names, changes), run.vectors["change_summary"]
    buffers = np.array([name.endswith(("running_mean", "running_var")) for name in names])
    for kind, chosen in (("parameters", ~buffers), ("buffers", buffers)):
        measured.summaries(
            f"pcl changes of {kind}", found[chosen], expected[chosen], np.array(names)[chosen], CHANGES, floor=1e-6
        )
