"""STAR's stacked hourglass against the official code: targets, forwards, losses, gradients, two Adam steps."""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import measured
import numpy as np
import pytest

from experiments.alignment import w300
from facejax import losses
from facejax.data import landmark_targets
from facejax.interop import star as interop
from facejax.interop import torch_layout
from facejax.methods.alignment import Alignment
from facejax.models.hourglass import StackedHourglass

SIZE, WIDTH, BATCH = 64, 32, 4
LOSSES, CHANGES = 1e-6, (1e-5, 1e-5)  # in float64; norm, projection over norm
MAPS = ("heatmaps", "pointmaps", "edgemaps")


def make_network(edges, num_levels, dtype="float64"):
    return StackedHourglass(
        num_points=landmark_targets.NUM_POINTS[edges],
        edges=tuple(edge.points for edge in landmark_targets.EDGES[edges]),
        width=WIDTH,
        num_levels=num_levels,
        dtype=dtype,
    )


def scaled_values(shapes, edges, seed):
    """The golden parameters: convolutions scaled so that nothing explodes or saturates, the edges' constants kept."""
    values = golden.state_dict(json.loads(str(shapes)), seed)
    for key, value in values.items():
        if value.ndim == 4:
            if ".conv3." in key or key.startswith("merge_"):
                value /= 8
            elif ".skip_layer." in key or ".coordconv." in key or key.startswith("out_"):
                value /= 2
    weight = np.zeros_like(values["e2h_transform.weight"])
    for number, (_, points) in enumerate(edges):
        weight[points, number] = 1
    return values | {"e2h_transform.weight": weight, "e2h_transform.bias": 1 - weight.max((1, 2, 3))}


def images(step, seed):
    return 2 * golden.image(f"faces/{step}", [BATCH, 3, SIZE, SIZE], seed).transpose(0, 2, 3, 1).astype(np.float64) - 1


def make_method(vectors):
    """The experiment for 300W, on the points and with the network of the golden vectors, in float64."""
    config = w300.get_config()
    config.update(dtype="float64", image_size=SIZE, batch_size=BATCH)
    config.landmarks.points = "cofw"
    config.hourglass.update(width=WIDTH, num_levels=2)
    config.average.half_life = BATCH * np.log(0.5) / np.log(float(vectors["ema_decay"]))
    assert config.optimizer.learning_rate == float(vectors["learning_rate"])
    return Alignment(config, steps_per_epoch=2, total_steps=2)


def targets(step, vectors):
    """Landmarks, maps of points and of edges, of a batch: the official ones."""
    names = landmark_targets.Targets._fields
    return landmark_targets.Targets(*(vectors[f"targets/{name}"][step].astype(np.float64) for name in names))


def joined(tree):
    """All arrays as one, for which Adam is compiled in no time."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def split_as(tree, flat):
    leaves, structure = jax.tree.flatten(tree)
    parts = np.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return structure.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


class Run:
    """What is computed once: inference, the gradients of step 0, two steps with averages of all variables."""

    def __init__(self, vectors):
        self.vectors, self.seed = vectors, int(vectors["seed"])
        self.method = make_method(vectors)
        self.network = self.method.network
        edges = json.loads(str(vectors["edges"]))
        self.initial = scaled_values(vectors["shapes"], edges, self.seed)
        variables = interop.from_official(self.initial, self.network)
        self.eval = self.infer(self.network, variables)
        self.eval32 = self.infer(self.network.clone(dtype="float32"), variables)
        deep = make_network("cofw", 4)
        values = scaled_values(vectors["deep/shapes"], edges, self.seed)
        self.deep = self.infer(deep, interop.from_official(values, deep))

        self.train_two_steps(jax.tree.map(lambda x: np.asarray(x, np.float64), variables))

    def train_two_steps(self, state):
        gradient = jax.jit(jax.value_and_grad(self.loss, has_aux=True))
        adam, average, self.losses = self.method.optimizer, state, []
        moments = adam.init(joined(state["params"]))
        for step in range(2):
            examples = images(step, self.seed), targets(step, self.vectors)
            (total, (found, statistics, outputs)), gradients = gradient(state["params"], state["batch_stats"], examples)
            updates, moments = adam.update(joined(gradients), moments)
            params = split_as(state["params"], joined(state["params"]) + np.asarray(updates))
            state = {"params": params, **statistics}
            followed = self.method.average.follow({"all": joined(average)}, {"all": joined(state)}, jnp.asarray(step))
            average = split_as(state, np.asarray(followed["all"]))
            self.losses.append((found, total))
            if step == 0:
                self.gradients, self.train = gradients, outputs
        self.final, self.average = (interop.to_official(tree, self.network) for tree in (state, average))

    def infer(self, network, variables):
        variables = jax.tree.map(lambda x: jnp.asarray(x, network.dtype), variables)
        return jax.jit(functools.partial(network.apply, train=False))(variables, images(0, self.seed))

    def loss(self, params, statistics, examples):
        """The method's loss, and what the official code computes on the way, which it does not tell."""
        total, (_, statistics) = self.method.loss(params, {"batch_stats": statistics}, examples, jax.random.key(0))
        variables = {"params": params, "batch_stats": statistics["batch_stats"]}
        outputs, _ = self.network.apply(variables, examples[0], True, mutable=["batch_stats"])
        found = []
        for heatmaps, *predicted in zip(*(outputs[name] for name in MAPS), strict=True):
            found += [losses.star(heatmaps, examples[1].landmarks)]
            found += map(losses.adaptive_wing, predicted, examples[1][1:])
        return total, (jnp.stack(found), statistics, outputs)


@pytest.fixture(scope="module")
def vectors(goldens):
    return goldens("star_network")


@pytest.fixture(scope="module")
def run(vectors, quick_compilation):
    with jax.enable_x64(True):
        return Run(vectors)


def test_keys_and_shapes_of_the_official_network(vectors):
    network = make_network("wflw", 4, "float32").clone(width=256)
    init = functools.partial(network.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), jnp.zeros([1, SIZE, SIZE, 3]))
    empty = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), variables)
    found = {key: list(value.shape) for key, value in interop.to_official(empty, network).items()}
    assert found == json.loads(str(vectors["official/shapes_wflw"]))


@pytest.mark.parametrize("edges, key", [("cofw", "edges"), ("wflw", "official/edges_wflw")])
def test_edges(vectors, edges, key):
    found = [[edge.closed, list(edge.points)] for edge in landmark_targets.EDGES[edges]]
    assert found == json.loads(str(vectors[key]))


def test_targets(vectors):
    encode = jax.jit(landmark_targets.encode, static_argnums=(1, 2))
    for step, points in enumerate(vectors["points"]):
        found = encode(points.astype(np.float32), landmark_targets.EDGES["cofw"], SIZE)
        for name in ("landmarks", "pointmaps"):
            measured.close(f"star targets, {name}", getattr(found, name), vectors[f"targets/{name}"][step], 1e-6)
        # Lines are not drawn by OpenCV here.
        measured.close("star targets, edgemaps", found.edgemaps, vectors["targets/edgemaps"][step], 0.25)
        assert np.abs(found.edgemaps - vectors["targets/edgemaps"][step]).mean() < 0.01


def test_inference_in_float32(run, vectors):
    for name, found in (("landmarks", run.eval32["landmarks"]), ("heatmaps", run.eval32["heatmaps"][-1])):
        measured.close(f"star eval {name} in float32", found, vectors[f"eval/{name}"], 2e-5)


@pytest.mark.parametrize("kind", ["eval", "deep/eval", "train"])
def test_forward(run, vectors, kind):
    outputs = {"eval": run.eval, "deep/eval": run.deep, "train": run.train}[kind]
    measured.close(f"star {kind} landmarks", outputs["landmarks"], vectors[f"{kind}/landmarks"], 1e-6)
    measured.close(f"star {kind} heatmaps", outputs["heatmaps"][-1], vectors[f"{kind}/heatmaps"], 1e-6)
    names = [str(name) for name in vectors[f"{kind}/map_names"]]
    assert names == [f"{kind}/{name}{stack}" for stack in range(4) for name in MAPS]
    arrays = [outputs[name][stack] for stack in range(4) for name in MAPS]
    found = [golden.grad_summary(name, array, run.seed) for name, array in zip(names, arrays, strict=True)]
    measured.summaries(f"star {kind} maps", found, vectors[f"{kind}/map_summary"], names, (1e-6, 1e-6), floor=0)


def test_losses(run, vectors):
    for step, (found, total) in enumerate(run.losses):
        measured.relative(f"star losses of step {step}", found, vectors[f"step{step}/losses"], LOSSES)
        measured.relative(f"star total of step {step}", total, vectors[f"step{step}/loss"], LOSSES)


def test_gradients(run, vectors):
    links = [link for link in interop.links(run.network) if link.path.startswith("params/")]
    gradients = torch_layout.to_torch(links, {"params": run.gradients})
    names = [str(name) for name in vectors["grad_names"]]
    assert gradients.keys() == set(names)
    found = np.array([golden.grad_summary(name, gradients[name], run.seed) for name in names])
    measured.summaries("star gradients", found, vectors["grad_summary"], names, CHANGES, floor=1e-8)


@pytest.mark.parametrize("prefix", ["", "ema/"])
def test_changes(run, vectors, prefix):
    names = [str(name) for name in vectors["change_names"]]
    unused = {str(name) for name in vectors["without_gradient"]}
    final = run.average if prefix else run.final
    assert all(not final[name].any() for name in unused)
    changes = {name: final[name].astype(np.float64) - run.initial[name] for name in names if name not in unused}
    # What has no gradient but rounding moves by rounding, and with it the means behind it.
    gradients = dict(zip(vectors["grad_names"].tolist(), vectors["grad_summary"][:, 0], strict=True))
    floor = 1e-8 * max(gradients.values())
    for kind, chosen in (
        ("parameters", [name for name in names if gradients.get(name, 0) > floor]),
        ("statistics", [name for name in names if name.endswith(("running_mean", "running_var"))]),
    ):
        found = [golden.grad_summary(name, changes[name], run.seed) for name in chosen]
        expected = vectors[f"{prefix}change_summary"][[names.index(name) for name in chosen]]
        measured.summaries(f"star {prefix}changes of {kind}", found, expected, chosen, CHANGES, floor=1e-9)
    for name in (*unused, "e2h_transform.weight", "e2h_transform.bias"):
        assert vectors[f"{prefix}change_summary"][names.index(name), 0] == 0
