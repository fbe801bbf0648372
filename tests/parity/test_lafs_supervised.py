"""LAFS' supervised stages against the official implementation: forwards, gradients, three steps in three groupings."""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import measured
import numpy as np
import optax
import pytest

from experiments import part_fvit_supervised
from facejax import losses
from facejax.interop import lafs as interop
from facejax.interop import torch_layout
from facejax.methods import supervised
from facejax.sharding import path_name
from facejax.train_state import TrainState

STEPS_PER_EPOCH, EPOCHS, CLASSES, DEPTH = 2, 6, 10, 2
LOSSES, CHANGES = 1e-6, (1e-5, 1e-5)  # in float64; norm, projection over norm
GROUPS = {  # official name: ours
    "scaled": "layer_decay",
    "unscaled": "layer_decay_official",
    "stage1": "end_to_end",
}


def make_config(vectors, groups, dtype="float64"):
    config = part_fvit_supervised.get_config()
    config.epochs, config.dtype = EPOCHS, dtype
    config.model.update(size="nano", dropout=0.0, stochastic_depth=0.0, landmark_dropout=0.0)
    config.classifier.num_classes = CLASSES
    config.optimizer.update(
        learning_rate=float(vectors["schedule/peak"]), warmup_epochs=1, groups=groups, layer_decay=0.58
    )
    return config


def make_method(config):
    return supervised.Supervised(config, steps_per_epoch=STEPS_PER_EPOCH, total_steps=EPOCHS * STEPS_PER_EPOCH)


class Run:
    """What is computed once: forwards, the gradients of step 0, three steps in each grouping, an accumulated one."""

    def __init__(self, vectors):
        self.vectors, self.seed = vectors, int(vectors["seed"])
        self.initial = golden.state_dict(json.loads(str(vectors["shapes"])), self.seed)
        variables = interop.recognition_from_official(self.initial, size="nano")
        self.variables32 = variables
        self.params, self.statistics = self.split(jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables))
        method = make_method(make_config(vectors, "layer_decay"))
        network, rng = method.network, jax.random.key(0)
        images = self.examples(0)[0]
        self.eval = self.embed(self.network_variables(self.params, self.statistics), network, images)

        gradient = jax.jit(method._gradients)
        self.gradients, _ = gradient(self.params, self.statistics, self.examples(0), rng)
        self.train = self.training_forward(network, images)

        self.losses, self.final = {}, {}
        for name, groups in GROUPS.items():
            method = make_method(make_config(vectors, groups))
            method._gradients = gradient  # the same of all groupings: compiled once
            method._apply = jax.jit(method._apply)
            state, metrics = self.state(method), []
            for index in range(3):
                state, found = method.update(state, self.examples(index), rng)
                metrics.append(float(found["total"]))
            self.losses[name] = metrics
            self.final[name] = self.to_official(state)
            if name == "scaled":
                trained = self.network_variables(state.params, state.statistics)
                self.eval_after = self.embed(trained, method.network, images)[0]
        self.accumulate()

    def split(self, variables):
        """Parameters with the classifier padded as `Supervised` does, and the other collections."""
        params = dict(variables["params"])
        padding = ((0, supervised.ROWS - CLASSES), (0, 0))
        params["classifier"] = jnp.pad(params["classifier"], padding)
        return params, {name: tree for name, tree in variables.items() if name != "params"}

    @staticmethod
    def network_variables(params, statistics):
        return {"params": {name: tree for name, tree in params.items() if name != "classifier"}, **statistics}

    @staticmethod
    @functools.partial(jax.jit, static_argnums=1)
    def embed(variables, network, images):
        return network.apply(variables, images, False), network.apply(variables, images, False, method="points")

    def training_forward(self, network, images):
        @jax.jit
        def forward(variables, classifier):
            apply = lambda **how: network.apply(variables, images, True, mutable=["batch_stats"], **how)[0]  # noqa: E731
            embedding = apply()
            labels = jnp.asarray(self.vectors["labels"][0])
            return embedding, apply(method="points"), losses.cosface(embedding, classifier, labels)

        return forward(self.network_variables(self.params, self.statistics), self.params["classifier"][:CLASSES])

    def state(self, method):
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=self.params,
            statistics=self.statistics,
            target=None,
            opt_state=method.optimizer.init(self.params),
        )

    def examples(self, step):
        """Images mixed with their mirror in the batch, both labels of each, their shares."""
        images = 2 * golden.image(f"faces/{step}", [4, 3, 112, 112], self.seed).astype(np.float64) - 1
        images, labels = images.transpose(0, 2, 3, 1), self.vectors["labels"][step]
        kept = self.vectors["mixup/lambda"][step]
        return (
            jnp.asarray(kept * images + (1 - kept) * images[::-1]),
            jnp.stack([labels, labels[::-1]], axis=1),
            jnp.broadcast_to(jnp.array([kept, 1 - kept]), (4, 2)),
        )

    def accumulate(self):
        """One step of three micro-batches, which `train_step` cuts out of an interleaved batch."""
        config = make_config(self.vectors, "layer_decay")
        config.optimizer.accumulation, config.batch_size = 3, 12
        method = make_method(config)
        method.augment = lambda rng, batch: (batch["image"], batch["labels"], batch["shares"])
        method.optimizer = supervised.grouped_optimizer(
            config, optax.constant_schedule(float(self.vectors["schedule/lr"][1])), steps_per_epoch=STEPS_PER_EPOCH
        )
        apply_, seen = method._apply, {}

        def record(state, gradients, statistics, metrics):
            seen["gradients"] = gradients
            return apply_(state, gradients, statistics, metrics)

        method._apply = record
        parts = [dict(zip(("image", "labels", "shares"), self.examples(step), strict=True)) for step in range(3)]
        batch = jax.tree.map(lambda *x: jnp.stack(x, 1).reshape(12, *x[0].shape[1:]), *parts)

        @jax.jit
        def step(state, batch):
            state, metrics = method.train_step(state, batch, jax.random.key(0))
            return state, metrics, seen["gradients"]

        state, metrics, self.accumulated_gradients = step(self.state(method), batch)
        self.losses["accumulated"], self.final["accumulated"] = float(metrics["total"]), self.to_official(state)

    def to_official(self, state):
        params = dict(state.params) | {"classifier": state.params["classifier"][:CLASSES]}
        return interop.recognition_to_official({"params": params, **state.statistics}, size="nano")

    def gradient_summary(self, gradients):
        links = [link for link in interop.recognition_links(DEPTH) if link.path.startswith("params/")]
        gradients = dict(gradients) | {"classifier": gradients["classifier"][:CLASSES]}
        arrays = torch_layout.to_torch(links, {"params": gradients})
        names = [str(name) for name in self.vectors["grad_names"]]
        assert arrays.keys() == set(names)
        return np.array([golden.grad_summary(name, arrays[name], self.seed) for name in names]), names


@pytest.fixture(scope="module")
def vectors(goldens):
    return goldens("lafs_supervised")


@pytest.fixture(scope="module")
def run(vectors, quick_compilation):  # in float64 the order of sums does not count
    with jax.enable_x64(True):
        return Run(vectors)


def test_schedule(vectors):
    with jax.enable_x64(True):
        method = make_method(make_config(vectors, "layer_decay"))
        found = method.learning_rate(np.arange(EPOCHS * STEPS_PER_EPOCH))
    np.testing.assert_allclose(found, vectors["schedule/lr"], rtol=1e-14)


def test_peak_of_the_paper(vectors):
    assert part_fvit_supervised.get_config().optimizer.learning_rate == pytest.approx(
        float(vectors["schedule/official_peak"]), rel=1e-12
    )


def test_forwards(run, vectors):
    measured.close("supervised eval/embedding", run.eval[0], vectors["eval/embedding"], LOSSES)
    measured.close("supervised eval/points", run.eval[1], vectors["eval/points"], LOSSES)
    for name, found in zip(("embedding", "points", "logits"), run.train, strict=True):
        measured.close(f"supervised train/{name}", found, vectors[f"train/{name}"], LOSSES)
    measured.close("supervised eval_after/embedding", run.eval_after, vectors["eval_after/embedding"], LOSSES)


def test_embedding_in_float32(run, vectors):
    method = make_method(make_config(vectors, "layer_decay", "float32"))
    params, statistics = run.split(run.variables32)
    images = 2 * golden.image("faces/0", [4, 3, 112, 112], run.seed).transpose(0, 2, 3, 1) - 1
    embedding, _ = run.embed(run.network_variables(params, statistics), method.network, images)
    measured.close("supervised eval/embedding in float32", embedding, vectors["eval/embedding"], 1e-4)


def test_soft_labels(run, vectors):
    _, labels, shares = run.examples(1)
    soft = (np.asarray(shares)[..., None] * np.eye(CLASSES)[np.asarray(labels)]).sum(1)
    np.testing.assert_allclose(soft, vectors["mixup/soft_labels"], rtol=1e-6)


@pytest.mark.parametrize("name", GROUPS)
def test_groups(run, vectors, name):
    config = make_config(vectors, GROUPS[name])
    group = supervised.GROUPS[GROUPS[name]](config)
    if name == "unscaled":
        # Theirs computes scales that nothing reads: only the decay counts.
        group = supervised.GROUPS["layer_decay"](config)
    official = {key: (scale, decay) for key, scale, decay in json.loads(str(vectors[f"{name}/groups"]))}
    paths = {f"params/{path_name(path)}": leaf for path, leaf in jax.tree_util.tree_leaves_with_path(run.params)}
    links = [link for link in interop.recognition_links(DEPTH) if link.path in paths]
    assert official.keys() == {link.key for link in links}
    for link in links:
        assert group(link.path.removeprefix("params/"), paths[link.path]) == official[link.key], link.key


@pytest.mark.parametrize("name", GROUPS)
def test_losses(run, vectors, name):
    measured.relative(f"supervised {name} losses", run.losses[name], vectors[f"{name}/loss"], LOSSES)


def test_gradients(run, vectors):
    found, names = run.gradient_summary(run.gradients)
    measured.summaries("supervised gradients", found, vectors["grad_summary"], names, CHANGES, floor=1e-8)


@pytest.mark.parametrize("name", [*GROUPS, "accumulated"])
def test_changes(run, vectors, name):
    names = [str(key) for key in vectors["change_names"]]
    final = run.final[name]
    changes = {key: final[key].astype(np.float64) - run.initial[key] for key in names}
    found = np.array([golden.grad_summary(key, changes[key], run.seed) for key in names])
    expected, names = vectors[f"{name}/change_summary"], np.array(names)
    # What has no gradient but rounding moves by rounding: left out, as are buffers compared apart.
    gradients = dict(zip(vectors["grad_names"].tolist(), vectors["grad_summary"][:, 0], strict=True))
    floor = 1e-8 * max(gradients.values())
    parameters = np.array([gradients.get(key, 0) > floor for key in names])
    buffers = np.array([key.endswith(("running_mean", "running_var")) for key in names])
    for kind, chosen in (("parameters", parameters), ("buffers", buffers)):
        measured.summaries(
            f"supervised {name} changes of {kind}", found[chosen], expected[chosen], names[chosen], CHANGES, floor=1e-9
        )


def test_accumulated(run, vectors):
    total = vectors["accumulated/loss"].sum()  # theirs are a third each
    measured.relative("supervised accumulated loss", run.losses["accumulated"], total, LOSSES)
    found, names = run.gradient_summary(run.accumulated_gradients)
    expected = vectors["accumulated/grad_summary"]
    measured.summaries("supervised accumulated gradients", found, expected, names, CHANGES, floor=1e-8)
