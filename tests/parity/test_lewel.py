"""LEWEL-B, FRA's baseline, against FRA's repository: three masks; forwards, losses, gradients, changes."""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import measured
import numpy as np
import optax
import pytest
from flax import linen as nn

from facejax import losses, optimizers, schedules
from facejax.interop import lewel as interop
from facejax.interop import torch_layout
from facejax.models import lewel
from facejax.models.joint_views import apply_to_views
from facejax.models.resnet import ResNet

VARIANT, SIZE, BATCH = "resnet18", 96, 8
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # for all but the backbone
TOTAL_STEPS = 10  # the vectors' EMA runs as in a run of 10 iterations
CLUSTER_WEIGHT = 0.1
FORWARDS, LOSSES, CHANGES = 1e-6, 1e-6, (1e-5, 1e-5)  # in float64; changes: norm, projection over norm


class Given(nn.Module):
    """In the place of a backbone that has been run already: the grid comes in as it goes out."""

    def __call__(self, grid, train):
        return grid


class Shared:
    """What all masks have in common, compiled once: the backbone, LARS, and the target that follows."""

    def __init__(self, vectors):
        backbone = ResNet(VARIANT, dtype=jnp.float64)
        rates = jnp.asarray(vectors["lr"])
        self.vectors, self.steps = vectors, len(rates)
        self.optimizer = optimizers.lars(lambda step: rates[step])
        target_momentum = schedules.cosine_momentum(0.996, total_steps=TOTAL_STEPS)

        def forward(variables, images):
            grids, moved = apply_to_views(backbone, variables, images, train=True, mutable=["batch_stats"])
            return jnp.stack(grids), moved

        @jax.jit
        def gradients(variables, images, slope):
            grids = lambda params: forward({**variables, "params": params}, images)[0]  # noqa: E731
            return jax.vjp(grids, variables["params"])[1](slope)[0]

        @functools.partial(jax.jit, compiler_options=QUICK)
        def update(params, gradients, opt_state, target, index):
            updates, opt_state = self.optimizer.update(gradients, opt_state, params)
            params = optax.apply_updates(params, updates)
            followed = {name: params[name] for name in target}
            return params, opt_state, optax.incremental_update(followed, target, 1 - target_momentum(index))

        self.train, self.gradients, self.update = jax.jit(forward), gradients, update
        self.inference = jax.jit(functools.partial(backbone.apply, train=False))


def of_backbone(variables):
    return {collection: trees["backbone"] for collection, trees in variables.items()}


class Run:
    """Everything computed once for a mask: forwards, gradients of step 0, and the arrays before and after."""

    def __init__(self, shared, mask):
        self.mask, self.seed = mask, int(shared.vectors["seed"])
        self.vectors = {
            key.removeprefix(f"{mask}/"): array for key, array in shared.vectors.items() if key.startswith(f"{mask}/")
        }
        self.initial = golden.state_dict(json.loads(str(self.vectors["shapes"])), self.seed)
        self.initial["center"][:] = 0
        variables = interop.from_official(self.initial, variant=VARIANT, mask=mask)
        online, target, center = jax.tree.map(lambda array: jnp.asarray(array, "float64"), variables)
        self.network = lewel.LEWELNetwork(
            Given(),
            embedding_dim=32,
            hidden_dim=64,
            mask=mask,
            num_regions=8,
            num_heads=8,
            dropout=0.0,
            dtype=jnp.float64,
        )
        grid = shared.inference(of_backbone(online), self.image("view1"))
        self.eval = jax.jit(functools.partial(self.network.apply, train=False), compiler_options=QUICK)(online, grid)

        gradient = jax.jit(jax.value_and_grad(self.loss, argnums=(0, 1), has_aux=True), compiler_options=QUICK)
        opt_state, self.losses = shared.optimizer.init(online["params"]), []
        for index in range(shared.steps):
            images = jnp.stack([self.image(f"view{view}/{index}") for view in (1, 2)])
            grid, moved_online = shared.train(of_backbone(online), images)
            target_grid, moved_target = shared.train(of_backbone(target), images)
            (_, (found, outputs, statistics)), (gradients, slope) = gradient(
                online["params"], grid, online, target, center, target_grid
            )
            gradients["backbone"] = shared.gradients(of_backbone(online), images, slope)
            params, opt_state, followed = shared.update(online["params"], gradients, opt_state, target["params"], index)
            statistics["online"]["backbone"] = moved_online["batch_stats"]
            statistics["target"]["backbone"] = moved_target["batch_stats"]
            online = {"params": params, "batch_stats": statistics["online"]}
            target = {"params": followed, "batch_stats": statistics["target"]}
            if mask == "attn":
                dots = jnp.stack([view["dots"].reshape(-1, len(center)) for view in outputs["target"]])
                center = losses.update_center(center, dots)
            self.losses.append(np.asarray(found))
            if index == 0:
                self.gradients, self.train = gradients, {name: outputs[name][0] for name in outputs}
        self.final = interop.to_official(online, target, center, variant=VARIANT, mask=mask)

    def image(self, name):
        image = golden.image(name, (BATCH, 3, SIZE, SIZE), self.seed).transpose(0, 2, 3, 1)
        return 4 * image.astype("float64") - 2

    def loss(self, params, grid, online, target, center, target_grid):
        """Total, and the five losses, the outputs of each view, the statistics moved by the forwards."""
        forward = functools.partial(apply_to_views, self.network, train=True, mutable=["batch_stats"])
        networks = {
            "online": forward({**online, "params": params}, grid, method="predict"),
            "target": forward(target, target_grid),
        }
        outputs, statistics = {}, {}
        for name, (outputs[name], moved) in networks.items():
            statistics[name] = moved["batch_stats"]
        instance = region = cluster = 0.0
        for view, here in enumerate(outputs["online"]):
            same, other = outputs["target"][view], outputs["target"][1 - view]
            instance += 0.5 * losses.byol(here["global_prediction"], other["global"])
            vectors = [array.reshape(-1, array.shape[-1]) for array in (here["region_prediction"], other["regions"])]
            region += 0.5 * losses.byol(*vectors)
            if self.mask == "attn":
                dots = [outputs["dots"].reshape(-1, len(center)) for outputs in (here, same)]
                cluster += 0.5 * losses.centered_assignment(*dots, center)
        base = instance + region
        total = base + CLUSTER_WEIGHT * cluster
        return total, (jnp.stack([total, base, instance, region, cluster]), outputs, statistics)


@pytest.fixture(scope="module")
def shared(goldens):
    with jax.enable_x64(True):
        return Shared(goldens("lewel"))


@pytest.fixture(scope="module", params=lewel.MASKS)
def run(request, shared):
    with jax.enable_x64(True):
        return Run(shared, request.param)


def in_torch_layout(name, array):
    if name in ("heatmaps", "dots"):  # cells last
        array = np.moveaxis(array, (1, 2), (-2, -1))
        return array[:, 0] if array.ndim == 5 and array.shape[1] == 1 else array  # `max` has no heads
    return array


def assert_forward(run, prefix, outputs):
    ours = {"local": "regions", "mask_embed": "mask_embeddings"}
    names = [key.removeprefix(f"{prefix}/") for key in run.vectors if key.startswith(f"{prefix}/")]
    assert set(names) >= {"global", "local", "heatmaps"}
    for name in names:
        found = in_torch_layout(name, np.asarray(outputs[ours.get(name, name)]))
        measured.close(f"lewel {run.mask} {prefix}/{name}", found, run.vectors[f"{prefix}/{name}"], FORWARDS)


def test_inference(run):
    assert_forward(run, "eval", run.eval)


@pytest.mark.parametrize("network", ["online", "target"])
def test_first_training_forward(run, network):
    assert_forward(run, f"train/{network}/view1", run.train[network])


def test_losses(run):
    for step, found in enumerate(run.losses):
        expected = run.vectors[f"step{step}/loss"]
        if run.mask != "attn":
            assert found[4] == expected[4] == 0  # no clustering
            found, expected = found[:4], expected[:4]
        measured.relative(f"lewel {run.mask} losses of step {step}", found, expected, LOSSES)


def summaries(run, names, arrays):
    return np.array([golden.grad_summary(name, arrays[name], run.seed) for name in names])


def test_gradients(run):
    links = [link for link in interop.online_links(VARIANT, run.mask) if link.path.startswith("params/")]
    gradients = torch_layout.to_torch(links, {"params": run.gradients})
    names = [str(name) for name in run.vectors["grad_names"]]
    assert gradients.keys() == set(names)
    found, expected = summaries(run, names, gradients), run.vectors["grad_summary"]
    measured.summaries(f"lewel {run.mask} gradients", found, expected, names, CHANGES, floor=1e-8)


def test_changes(run):
    names = [str(name) for name in run.vectors["change_names"]]
    assert {key for key in run.final if not key.endswith("num_batches_tracked")} == set(names)
    changes = {name: run.final[name].astype(np.float64) - run.initial[name] for name in names}
    found, expected = summaries(run, names, changes), run.vectors["change_summary"]
    buffers = np.array([name.endswith(("running_mean", "running_var", "center")) for name in names])
    for kind, chosen in (("parameters", ~buffers), ("buffers", buffers)):
        measured.summaries(
            f"lewel {run.mask} changes of {kind}",
            found[chosen],
            expected[chosen],
            np.array(names)[chosen],
            CHANGES,
            floor=1e-6,
        )
