"""FRA's fine-tuning on CelebA (ResNet-50) and on expressions (ResNet-18), and its linear probe."""

import json

import golden
import jax
import jax.numpy as jnp
import measured
import numpy as np
import optax
import pytest

from experiments.finetune import celeba as celeba_experiment
from experiments.finetune import rafdb
from facejax import losses, optimizers, schedules
from facejax.interop import classifier as interop
from facejax.interop import torch_layout
from facejax.methods.finetune import Finetune
from facejax.train_state import TrainState

BATCH, SIZE, STEPS = 8, 96, 3
EPOCHS, WARMUP_EPOCHS, STEPS_PER_EPOCH = 100, 5, 2
END, WEIGHT_DECAY = 1e-6, 0.05
FORWARDS, LOSSES, CHANGES = 1e-6, 1e-6, (1e-5, 1e-5)  # in float64; changes: norm, projection over norm


def make_schedule(peak):
    return schedules.warmup_into_cosine(
        peak, END, warmup_steps=WARMUP_EPOCHS * STEPS_PER_EPOCH, total_steps=EPOCHS * STEPS_PER_EPOCH
    )


def linear_probe():
    return optimizers.by_part({"head": optax.sgd(make_schedule(30.0), momentum=0.9)})


def class_accuracy(logits, targets):
    return (logits.argmax(-1) == targets).mean()


def attribute_accuracy(logits, targets):
    return ((logits >= 0) == targets).mean()  # a probability of 0.5 or more


class Run:
    """An experiment's method in float64, and its golden values; `tune` and `probe` train it."""

    def __init__(self, vectors, experiment, variant, accuracy):
        config = experiment.get_config()
        config.dtype, config.resnet.variant, config.classifier.dropout = "float64", variant, 0.0
        assert config.epochs == EPOCHS
        self.method = Finetune(config, steps_per_epoch=STEPS_PER_EPOCH, total_steps=EPOCHS * STEPS_PER_EPOCH)
        self.network = self.method.network
        self.vectors, self.variant, self.accuracy = vectors, variant, accuracy
        self.seed = int(vectors["seed"])
        self.initial = golden.state_dict(json.loads(str(vectors["shapes"])), self.seed)
        variables = interop.from_official(self.initial, variant=variant)
        self.variables = jax.tree.map(lambda array: jnp.asarray(array, "float64"), variables)

    def images(self, step):
        images = golden.image(f"faces/{step}", (BATCH, 3, SIZE, SIZE), self.seed).transpose(0, 2, 3, 1)
        return 4 * images.astype("float64") - 2

    def tune(self):
        """The method's steps; see `results`."""
        params = self.variables["params"]
        statistics, opt_state = {"batch_stats": self.variables["batch_stats"]}, self.method.optimizer.init(params)
        state = TrainState(jnp.zeros((), jnp.int32), params, statistics, None, opt_state)

        @jax.jit
        def step(state, examples):
            rng = jax.random.key(0)
            gradients = jax.grad(self.method.loss, has_aux=True)(state.params, state.statistics, examples, rng)[0]
            updated, metrics = self.method.update(state, examples, rng)
            outputs, _ = self.network.apply(state.variables, examples[0], True, mutable=["batch_stats"])
            return updated, (outputs, gradients, metrics["total"])  # computed once, for XLA sees that they are the same

        results = []
        for index in range(STEPS):
            state, result = step(state, (self.images(index), jnp.asarray(self.vectors["targets"][index])))
            results.append(result)
        return self.results(results, state.variables)

    def probe(self, optimizer):
        """Steps of the head alone; see `results`."""

        @jax.jit
        def step(variables, opt_state, images, targets):
            def loss(params):
                outputs = self.network.apply({**variables, "params": params}, images, train=False)
                return losses.cross_entropy(outputs["logits"], targets), outputs

            (total, outputs), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
            updates, opt_state = optimizer.update(gradients, opt_state, variables["params"])
            params = optax.apply_updates(variables["params"], updates)
            return {**variables, "params": params}, opt_state, (outputs, {"head": gradients["head"]}, total)

        variables, opt_state, results = self.variables, optimizer.init(self.variables["params"]), []
        for index in range(STEPS):
            targets = jnp.asarray(self.vectors["targets"][index])
            variables, opt_state, result = step(variables, opt_state, self.images(index), targets)
            results.append(result)
        return self.results(results, variables)

    def results(self, results, variables):
        """Outputs and gradients of step 0, losses and accuracies of all, the official arrays afterwards."""
        outputs, gradients, _ = results[0]
        found = {
            "loss": [float(total) for _, _, total in results],
            "accuracy": [
                100 * float(self.accuracy(outputs["logits"], targets))
                for (outputs, _, _), targets in zip(results, self.vectors["targets"], strict=True)
            ],
        }
        return outputs, gradients, found, interop.to_official(variables, variant=self.variant)

    def gradient_arrays(self, gradients):
        head = interop.ATTRIBUTES if "hidden0" in self.variables["params"]["head"] else interop.LINEAR
        links = interop.classifier_links(self.variant, head)
        of_parts = tuple(f"params/{part}/" for part in gradients)
        return torch_layout.to_torch([link for link in links if link.path.startswith(of_parts)], {"params": gradients})

    def summaries(self, names, arrays):
        return np.array([golden.grad_summary(name, arrays[name], self.seed) for name in names])


def attribute_loss(logits, targets):
    return losses.binary_cross_entropy(logits, targets.astype(logits.dtype))


@pytest.fixture(scope="module")
def celeba(goldens):
    with jax.enable_x64(True):
        return Run(goldens("celeba_neck"), celeba_experiment, "resnet50", attribute_accuracy)


@pytest.fixture(scope="module")
def expression(goldens):
    with jax.enable_x64(True):
        return Run(goldens("fer_finetune"), rafdb, "resnet18", class_accuracy)


@pytest.fixture(scope="module")
def tuned_celeba(celeba):
    with jax.enable_x64(True):
        return celeba.tune()


@pytest.fixture(scope="module")
def tuned_expression(expression):
    with jax.enable_x64(True):
        return expression.tune()


@pytest.fixture(scope="module")
def probed(expression):
    with jax.enable_x64(True):
        return expression.probe(linear_probe())


def assert_fine_tuning(label, run, tuned):
    outputs, gradients, found, final = tuned
    vectors = run.vectors
    every = outputs["features"].shape[1] // vectors["train/features"].shape[1]
    measured.close(f"{label} train/features", outputs["features"][:, ::every], vectors["train/features"], FORWARDS)
    measured.close(f"{label} train/logits", outputs["logits"], vectors["train/logits"], FORWARDS)
    measured.relative(f"{label} losses", found["loss"], vectors["loss"], LOSSES)
    np.testing.assert_allclose(found["accuracy"], vectors["accuracy"], rtol=1e-6)

    names = [str(name) for name in vectors["grad_names"]]
    gradients = run.gradient_arrays(gradients)
    assert gradients.keys() == set(names)
    expected = vectors["grad_summary"]
    measured.summaries(f"{label} gradients", run.summaries(names, gradients), expected, names, CHANGES, floor=1e-8)

    # What has no gradient but rounding moves by rounding: left out, as are buffers compared apart.
    norms = dict(zip(names, expected[:, 0], strict=True))
    floor = 1e-8 * max(norms.values())
    names = [str(name) for name in vectors["change_names"]]
    assert {key for key in final if not key.endswith("num_batches_tracked")} == set(names)
    changes = {name: final[name].astype(np.float64) - run.initial[name] for name in names}
    found, expected, names = run.summaries(names, changes), vectors["change_summary"], np.array(names)
    parameters = np.array([norms.get(name, 0) > floor for name in names])
    buffers = np.array([name.endswith(("running_mean", "running_var")) for name in names])
    for kind, chosen in (("parameters", parameters), ("buffers", buffers)):
        measured.summaries(
            f"{label} changes of {kind}", found[chosen], expected[chosen], names[chosen], CHANGES, floor=1e-9
        )


def test_fine_tuning_on_attributes(celeba, tuned_celeba):
    assert_fine_tuning("celeba", celeba, tuned_celeba)


def test_fine_tuning_on_expressions(expression, tuned_expression):
    assert_fine_tuning("expressions", expression, tuned_expression)


def test_linear_probe(expression, probed):
    outputs, gradients, found, final = probed
    vectors = {key.removeprefix("probe/"): array for key, array in expression.vectors.items() if "probe/" in key}
    measured.close("expressions eval/logits", outputs["logits"], expression.vectors["eval/logits"], FORWARDS)
    measured.relative("probe losses", found["loss"], vectors["loss"], LOSSES)
    np.testing.assert_allclose(found["accuracy"], vectors["accuracy"], rtol=1e-6)
    names = vectors["grad_names"].tolist()
    assert names == ["fc.weight", "fc.bias"]
    gradients = expression.gradient_arrays(gradients)
    measured.summaries(
        "probe gradients", expression.summaries(names, gradients), vectors["grad_summary"], names, CHANGES, floor=0
    )
    changes = {key: final[key].astype(np.float64) - expression.initial[key] for key in vectors["change_names"].tolist()}
    found, expected = expression.summaries(changes, changes), vectors["change_summary"]
    trained = np.array([key in names for key in changes])
    np.testing.assert_array_equal(found[~trained], 0)
    np.testing.assert_array_equal(expected[~trained], 0)
    measured.summaries("probe changes", found[trained], expected[trained], names, CHANGES, floor=0)


def test_inference_of_attributes(celeba):
    with jax.enable_x64(True):
        apply = jax.jit(celeba.network.apply, static_argnames="train")
        outputs = apply(celeba.variables, celeba.images(0), train=False)
    measured.close("celeba eval/logits", outputs["logits"], celeba.vectors["eval/logits"], FORWARDS)


def test_neck_alone(celeba):
    head, vectors = celeba.network.head, celeba.vectors
    with jax.enable_x64(True):
        features = jnp.asarray(golden.normal("neck_features", (BATCH, 2048), celeba.seed), "float64")
        variables = {name: tree["head"] for name, tree in celeba.variables.items()}

        @jax.jit
        def forward(params, features):
            logits, _ = head.apply({**variables, "params": params}, features, train=True, mutable=["batch_stats"])
            return attribute_loss(logits, jnp.asarray(vectors["targets"][0])), logits

        (loss, logits), gradients = jax.value_and_grad(forward, (0, 1), has_aux=True)(variables["params"], features)
        inference = head.apply(variables, features, train=False)
    measured.close("neck eval_logits", inference, vectors["neck/eval_logits"], FORWARDS)
    measured.close("neck train_logits", logits, vectors["neck/train_logits"], FORWARDS)
    measured.relative("neck loss", loss, vectors["neck/loss"], LOSSES)
    parameters = [link for link in interop.ATTRIBUTES if link.path.startswith("params/")]
    arrays = torch_layout.to_torch(parameters, {"params": {"head": gradients[0]}})
    assert arrays.keys() == set(vectors["neck/grad_names"].tolist())
    names = [*vectors["neck/grad_names"].tolist(), "neck_features"]
    arrays["neck_features"] = gradients[1]
    expected = np.concatenate([vectors["neck/grad_summary"], vectors["neck/grad_features"][None]])
    measured.summaries("neck gradients", celeba.summaries(names, arrays), expected, names, CHANGES, floor=1e-8)


@pytest.mark.parametrize(
    ("file", "prefix", "peak"),
    [("celeba_neck", "", 2e-4), ("fer_finetune", "", 2e-4), ("fer_finetune", "probe/", 30.0)],
)
def test_schedule(goldens, file, prefix, peak):
    vectors = goldens(file)
    with jax.enable_x64(True):
        found = np.asarray(make_schedule(peak)(np.arange(EPOCHS * STEPS_PER_EPOCH)))
    np.testing.assert_allclose(found, vectors[f"{prefix}schedule"], rtol=1e-14)
    for group in vectors[f"{prefix}lr"].T:
        np.testing.assert_allclose(found[:STEPS], group, rtol=1e-14)


@pytest.mark.parametrize("file", ["celeba_neck", "fer_finetune"])
def test_decay(goldens, file):
    np.testing.assert_array_equal(goldens(file)["weight_decay"], WEIGHT_DECAY)
    assert rafdb.get_config().optimizer.weight_decay == WEIGHT_DECAY
