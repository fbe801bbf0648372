"""FRA's fine-tuning on CelebA (ResNet-50) and on expressions (ResNet-18), and its linear probe."""

import json

import golden
import jax
import jax.numpy as jnp
import measured
import numpy as np
import optax
import pytest

from facejax import adamw, losses, optimizers, schedules
from facejax.interop import classifier as interop
from facejax.interop import torch_layout
from facejax.models.classifier import AttributeHead, Classifier, LinearHead
from facejax.models.resnet import ResNet

BATCH, SIZE, STEPS = 8, 96, 3
EPOCHS, WARMUP_EPOCHS, STEPS_PER_EPOCH = 100, 5, 2
END, WEIGHT_DECAY = 1e-6, 0.05
PARTS = ("backbone", "head")
FORWARDS, LOSSES, CHANGES = 1e-6, 1e-6, (1e-5, 1e-5)  # in float64; changes: norm, projection over norm


def make_schedule(peak):
    return schedules.warmup_into_cosine(
        peak, END, warmup_steps=WARMUP_EPOCHS * STEPS_PER_EPOCH, total_steps=EPOCHS * STEPS_PER_EPOCH
    )


def fine_tuning():
    return adamw.adamw_by_part({part: make_schedule(2e-4) for part in PARTS}, weight_decay=WEIGHT_DECAY)


def linear_probe():
    return optimizers.by_part({"head": optax.sgd(make_schedule(30.0), momentum=0.9)})


def class_accuracy(logits, targets):
    return (logits.argmax(-1) == targets).mean()


def attribute_accuracy(logits, targets):
    return ((logits >= 0) == targets).mean()  # a probability of 0.5 or more


class Run:
    """A network, its loss, and its golden values; `steps` trains it."""

    def __init__(self, vectors, variant, head, loss, accuracy):
        self.vectors, self.variant, self.loss, self.accuracy = vectors, variant, loss, accuracy
        self.seed = int(vectors["seed"])
        self.initial = golden.state_dict(json.loads(str(vectors["shapes"])), self.seed)
        variables = interop.from_official(self.initial, variant=variant)
        self.variables = jax.tree.map(lambda array: jnp.asarray(array, "float64"), variables)
        self.network = Classifier(ResNet(variant, dtype=jnp.float64), head)

    def images(self, step):
        images = golden.image(f"faces/{step}", (BATCH, 3, SIZE, SIZE), self.seed).transpose(0, 2, 3, 1)
        return 4 * images.astype("float64") - 2

    def steps(self, optimizer, parts, train):
        """Outputs and gradients of step 0, losses and accuracies of all, the official arrays afterwards.

        Gradients are those of the `parts` that are trained, as other ones need not be computed.
        """

        @jax.jit
        def step(variables, opt_state, images, targets):
            def loss(params):
                outputs, moved = self.network.apply(
                    {**variables, "params": params}, images, train=train, mutable=["batch_stats"]
                )
                return self.loss(outputs["logits"], targets), (outputs, moved)

            gradient = jax.value_and_grad(loss, has_aux=True)
            (total, (outputs, moved)), gradients = gradient(variables["params"])
            updates, opt_state = optimizer.update(gradients, opt_state, variables["params"])
            params = optax.apply_updates(variables["params"], updates)
            trained = {part: gradients[part] for part in parts}
            return {**moved, "params": params}, opt_state, (outputs, trained, total)

        variables, opt_state, results = self.variables, optimizer.init(self.variables["params"]), []
        for index in range(STEPS):
            targets = jnp.asarray(self.vectors["targets"][index])
            variables, opt_state, result = step(variables, opt_state, self.images(index), targets)
            results.append(result)
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
        head = AttributeHead(dropout=0.0, dtype=jnp.float64)
        return Run(goldens("celeba_neck"), "resnet50", head, attribute_loss, attribute_accuracy)


@pytest.fixture(scope="module")
def expression(goldens):
    with jax.enable_x64(True):
        head = LinearHead(7, dtype=jnp.float64)
        return Run(goldens("fer_finetune"), "resnet18", head, losses.cross_entropy, class_accuracy)


@pytest.fixture(scope="module")
def tuned_celeba(celeba):
    with jax.enable_x64(True):
        return celeba.steps(fine_tuning(), PARTS, train=True)


@pytest.fixture(scope="module")
def tuned_expression(expression):
    with jax.enable_x64(True):
        return expression.steps(fine_tuning(), PARTS, train=True)


@pytest.fixture(scope="module")
def probed(expression):
    with jax.enable_x64(True):
        return expression.steps(linear_probe(), ["head"], train=False)


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
