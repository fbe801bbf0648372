"""PCL against the official implementation: forwards, three updates an iteration with gradients, changes.

The losses given alone are in test_losses.py.
"""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from summaries import assert_summaries

from facejax.interop import pcl as interop
from facejax.interop import torch_layout
from facejax.methods import pcl

BATCHES = {"decoder": 4, "face": 4, "pose": 2}
NEGATIVES = 5
ITERATIONS = 2


def make_config(learning_rate):
    return ml_collections.ConfigDict(
        {
            "image_size": 64,
            "dtype": "float32",
            "epochs": 10,
            "batch_size": sum(BATCHES.values()),
            "batches": BATCHES,
            "model": {"width": 64, "hidden_dim": 2048, "projection_dim": 512, "decoder_size": 64},
            "loss": {
                "noise": 0.4,
                "temperature": 0.07,
                "mixing": 1.6,
                "pose_negatives": NEGATIVES,
                "negatives_of": "own_image",
            },
            "optimizer": {"learning_rate": learning_rate, "weight_decay": 1e-3, "without_gradient": "skip"},
        }
    )


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, -3, -1))


class Run:
    """Everything computed once: forwards, both iterations, gradients of the first."""

    def __init__(self, vectors):
        self.vectors, self.seed = vectors, int(vectors["seed"])
        self.method = pcl.PCL(make_config(float(vectors["learning_rate"])), steps_per_epoch=10)
        self.initial = golden.state_dict(json.loads(str(vectors["shapes"])), self.seed)
        variables = jax.device_put(interop.from_official(self.initial))
        self.state = self.method.new_state(variables["params"], {"batch_stats": variables["batch_stats"]})
        self.forwards = jax.jit(self.forward)(
            self.state.variables, self.image("faces", 6), self.image("faces100", 2, size=100)
        )

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
            "mix": golden._rng(self.seed, f"mix_{kind}/{iteration}").beta(1.6, 1.6, shape).astype(np.float32),
            "permutation": golden._rng(self.seed, f"perm_{kind}/{iteration}").permutation(shape[1]),
        }

    def inputs(self, i):
        decoder, face, pose = BATCHES.values()
        noise = [
            nhwc(0.4 * golden.normal(f"{name}/{i}", (decoder, 3, 64, 64), self.seed))
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
        apply = functools.partial(self.method.network.apply, variables)
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
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("iteration", range(ITERATIONS))
def test_losses(run, iteration):
    metrics = run.metrics[iteration]
    names = ["decoder", "l1_f_s", "l1_s_f", "l1_s_s", "l1_f_f", "orthogonality"]
    first = iteration == 0
    found = np.array([float(metrics[name]) for name in names])
    expected = run.vectors[f"it{iteration}/pfe"]
    np.testing.assert_allclose(found, expected, rtol=1e-6 if first else 2e-4)
    for name, tolerance in (("face", 2e-5 if first else 2e-4), ("pose", 5e-5 if first else 2e-4)):
        np.testing.assert_allclose(metrics[name], run.vectors[f"it{iteration}/{name}"], rtol=tolerance, err_msg=name)
    assert metrics["face_weight"] == metrics["pose_weight"] == 1


@pytest.mark.parametrize("update", pcl.UPDATES)
def test_gradients(run, update):
    kind = {"decoder": "pfe"}.get(update, update)
    names = [str(name) for name in run.vectors[f"it0/{kind}/grad_names"]]
    parts = tuple(f"params/{part}/" for part in pcl.UPDATES[update])
    links = [link for link in interop.network_links() if link.path.startswith(parts)]
    gradients = torch_layout.to_torch(links, {"params": run.gradients[update]})
    assert set(names) == set(gradients)
    expected = run.vectors[f"it0/{kind}/grad_summary"]
    tolerances = (3e-3, 1e-2) if update == "decoder" else (2e-2, 1e-1)
    assert_summaries(run.summaries(names, gradients), expected, names, *tolerances, floor=1e-8)


def test_changes(run):
    names = [str(name) for name in run.vectors["change_names"]]
    changes = {name: run.final[name].astype(np.float64) - run.initial[name] for name in names}
    found, expected = run.summaries(names, changes), run.vectors["change_summary"]
    buffers = np.array([name.endswith(("running_mean", "running_var")) for name in names])
    for chosen, tolerances in ((~buffers, (5e-2, 2e-1)), (buffers, (5e-5, 2e-4))):
        assert_summaries(found[chosen], expected[chosen], np.array(names)[chosen], *tolerances, floor=1e-6)
