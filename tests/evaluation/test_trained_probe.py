"""The papers' probes, step by step against NumPy in float64; few-shot, action units, templates and regions."""

import dataclasses

import jax
import numpy as np
import pytest
from random_inputs import generator
from sklearn import metrics

from facejax.errors import UserError
from facejax.evaluation import linear_probe, templates, trained_probe
from facejax.evaluation.protocols import PROTOCOLS
from facejax.evaluation.protocols.few_shot import nearest_mean
from facejax.evaluation.protocols.protocol import Split, Task


@pytest.fixture(autouse=True)
def quick(quick_compilation):
    pass


def task(protocol, splits, **settings):
    settings = PROTOCOLS[protocol].settings(protocol=protocol, data="x", **settings)
    return Task("config.tasks.x", settings, splits)


def run(protocol, splits, **settings):
    return PROTOCOLS[protocol].run(task(protocol, splits, **settings))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


EPOCHS = 7  # of one step each: the whole split is a batch
RATES = {  # of step t, from 0, as the papers' schedules are written
    "fra": lambda t: 30 * t / 5 if t < 5 else 1e-6 + (30 - 1e-6) * (1 + np.cos(np.pi * (t - 5) / (EPOCHS - 5))) / 2,
    "pcl": lambda t: 1e-2 * (1 + np.cos(np.pi * t / EPOCHS)) / 2,
    "pcl_pose": lambda t: 1e-3,
}


@pytest.mark.parametrize("name", trained_probe.RECIPES)
def test_recipes_equal_numpy(name):
    rng = generator()
    x, other = rng.normal(size=(2, 30, 6)) * [1, 2, 3, 1, 2, 3]
    classes, real = rng.integers(0, 3, 30), rng.normal(size=(30, 3)) * 9
    targets = real if name == "pcl_pose" else classes
    recipe = dataclasses.replace(trained_probe.RECIPES[name], epochs=EPOCHS)
    found = trained_probe.train(
        recipe, x.astype("f4"), targets.astype(targets.dtype.str.replace("8", "4")), other, targets
    )

    params, _ = trained_probe._init(jax.random.key(0), 6, 3, recipe.normalized)
    params = {key: np.asarray(value, float) for key, value in params.items()}
    unit = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) if recipe.normalized else x
    moments = {key: [0.0, 0.0] for key in params}
    mean, var = 0.0, 1.0
    for t in range(EPOCHS):
        inputs = unit * params["scale"] + params["shift"] if recipe.normalized else unit
        outputs = inputs @ params["kernel"] + params["bias"]
        if name == "pcl_pose":
            back = np.sign(outputs - targets) / outputs.size
        else:
            back = (softmax(outputs) - np.eye(3)[targets]) / len(x)
        gradients = {"kernel": inputs.T @ back, "bias": back.sum(0)}
        if recipe.normalized:
            down = back @ params["kernel"].T
            gradients |= {"scale": (down * unit).sum(0), "shift": down.sum(0)}
            mean, var = 0.9 * mean + 0.1 * x.mean(0), 0.9 * var + 0.1 * x.var(0, ddof=1)
        for key, gradient in gradients.items():
            first, second = moments[key]
            if recipe.optimizer == "sgd":
                moments[key][0] = 0.9 * first + gradient
                params[key] = params[key] - RATES[name](t) * moments[key][0]
                continue
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            moments[key] = [first, second]
            move = first / (1 - 0.9 ** (t + 1)) / (np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8)
            decay = 0.01 if recipe.optimizer == "adamw" else 0
            params[key] = params[key] - RATES[name](t) * (move + decay * params[key])
    inputs = (other - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["shift"] if recipe.normalized else other
    expected = inputs @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(found.last, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert found.best_epoch in (5, EPOCHS)


def test_solvers_recognise_what_is_there():
    rng = generator()
    labels = np.arange(90) % 3
    features = np.eye(3, 5)[labels] + 0.1 * rng.normal(size=(90, 5))
    splits = {"train": Split(features[:60], {"c": labels[:60]}), "test": Split(features[60:], {"c": labels[60:]})}
    for solver in ("closed_form", "pcl"):
        found = run("linear", splits, label="c", solver=solver, epochs=60).metrics()
        assert found["linear_accuracy"] > 0.95
        assert ("best_epoch_accuracy" in found) == (solver == "pcl")


def test_few_shot():
    rng = generator()
    labels = np.repeat([2, 5, 7], 12)
    features = rng.normal(size=(36, 4)) + 2 * rng.normal(size=(3, 4)).repeat(12, 0)
    splits = {"train": Split(features, {"c": labels}), "test": Split(features, {"c": labels}, source="faces (test)")}
    found = run("few_shot", splits, label="c", shots=(1, 10), repeats=4)
    right = found.metrics()
    assert right["accuracy_1_shot"] <= right["accuracy_10_shot"] + 0.1 and right["spread_1_shot"] >= 0
    support, queries = features[[0, 1, 12, 13]], features[20:]
    unit = [row / np.linalg.norm(row) for row in support - support.mean(0)]
    expected = [
        np.argmax([(q @ m) / np.linalg.norm(m) for m in (unit[0] + unit[1], unit[2] + unit[3])])
        for q in queries - support.mean(0)
    ]
    assert nearest_mean(support, queries, 2).tolist() == expected
    with pytest.raises(UserError, match="13 images of each class are asked for, and class 2 has 12 in"):
        run("few_shot", splits, label="c", shots=(13,))
    lacking = splits | {"train": Split(features[:24], {"c": labels[:24]}, source="faces (train)")}
    with pytest.raises(UserError, match=r"class 7 of faces \(test\) is not in faces \(train\)"):
        run("few_shot", lacking, label="c", shots=(1,))


def test_action_units_are_judged_by_the_other_folds(monkeypatch):
    rng = generator()
    sizes, units = {"fold_1": 30, "fold_2": 20, "fold_3": 25}, 2
    splits = {
        name: Split(rng.normal(size=(size, 5)), {"au": rng.integers(0, 6, (size, units)), "who": np.arange(size) // 5})
        for name, size in sizes.items()
    }
    fitted = []

    def probe(train, train_labels, test, test_labels, groups):
        fitted.append((len(train), len(groups)))
        assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
        return linear_probe.Attributes(*[None] * 3, 1.0, test[:, :units] > 0)

    monkeypatch.setattr(linear_probe, "attribute_probe", probe)
    outcome = run("action_units", splits, label="au", threshold=2.0, groups="who", names=("AU1", "AU2"))
    assert fitted == [(45, 45), (55, 55), (50, 50)]
    each = [
        np.mean(
            [metrics.f1_score(one.fields["au"][:, unit] >= 2, one.features[:, unit] > 0) for one in splits.values()]
        )
        for unit in range(units)
    ]
    found = outcome.metrics()
    assert [found["f1_AU1"], found["f1_AU2"]] == pytest.approx(each) and found["mean_f1"] == pytest.approx(
        np.mean(each)
    )
    assert outcome.units == len(outcome.groups) == 75


def faces_of_people():
    rng = generator()
    people = rng.permutation(np.repeat(np.arange(12), 6))
    return Split(rng.normal(size=(12, 6))[people] + 1.2 * rng.normal(size=(72, 6)), {"who": people}, source="faces")


def test_templates_of_people():
    split = faces_of_people()
    outcome = run("ijb", {"test": split}, images_of_a_template=2, groups="who")
    template = np.empty(72, int)
    for person in range(12):
        template[np.flatnonzero(split.fields["who"] == person)] = person * 3 + np.arange(6) // 2
    pooled = templates.pool(split.features, None, np.ones(72), template, np.arange(72), switches=("no_flip",))
    one, two = np.triu_indices(36, 1)
    pairs = templates.Pairs(one, two, one // 3 == two // 3)
    levels = (1e-2, 1e-1)
    expected = templates.verify_templates(pooled, pairs, levels=levels)
    found = outcome.metrics()
    assert [found["tar_at_far_1e-2"], found["tar_at_far_1e-1"]] == pytest.approx(expected.tar.tolist())
    number, person = np.arange(36) % 3, np.arange(36) // 3
    searched = [
        templates.identify(
            pooled.features[(number == 0) & (person % 2 == part)], person[(number == 0) & (person % 2 == part)],
            pooled.features[number > 0], person[number > 0], ranks=(1, 5),
        )
        for part in (0, 1)
    ]  # fmt: skip
    ranks = np.mean([each.rank_rate for each in searched], axis=0)
    assert [found["rank_1"], found["rank_5"]] == pytest.approx(ranks.tolist())
    tpir = np.mean([each.tpir for each in searched], axis=0)
    assert [found["tpir_at_fpir_0.01"], found["tpir_at_fpir_0.1"]] == pytest.approx(tpir.tolist())

    counts = generator().integers(0, 3, (3, 12)).astype(float)
    for row, value in zip(counts, outcome.statistics["tar_at_far_1e-1"](counts), strict=True):
        weights = np.where(pairs.same, row[one // 3], row[one // 3] * row[two // 3])
        far, tar, _ = metrics.roc_curve(pairs.same, expected.scores, sample_weight=weights, drop_intermediate=False)
        nearest = np.abs(far[1:] - 0.1)
        assert value == pytest.approx(tar[1:][np.flatnonzero(np.isclose(nearest, nearest.min()))[-1]])


def test_people_of_one_template():
    with pytest.raises(UserError, match="every person of faces has one template of 6 images"):
        run("ijb", {"test": faces_of_people()}, images_of_a_template=6, groups="who")


def test_records_without_pairs(tmp_path):
    fields = dict.fromkeys(("template", "medium", "subject", "role", "detector_score"), np.arange(4))
    settings = PROTOCOLS["ijb"].settings(protocol="ijb", data=str(tmp_path))
    with pytest.raises(UserError, match=r"pairs\.npz has no pairs of templates"):
        PROTOCOLS["ijb"].run(Task("config.tasks.x", settings, {"test": Split(np.eye(4), fields)}))


def test_regions():
    rng = generator()
    maps, true = rng.random((5, 2, 8, 8, 3), np.float32), rng.integers(0, 4, (5, 8, 8, 1), np.uint8)
    names = ("background", "skin", "eyes", "nose")
    found = run("regions", {"test": Split(maps, {"r": true})}, label="r", names=names).metrics()
    told = maps[:, 0].argmax(-1).ravel()
    best = [
        max(metrics.jaccard_score(true.ravel() == region, told == each) for each in range(3)) for region in (1, 2, 3)
    ]
    assert [found[f"iou_{name}"] for name in names[1:]] == pytest.approx(best)
    assert found["mean_iou"] == pytest.approx(np.mean(best))
    assert found["view_agreement"] == pytest.approx((maps[:, 0].argmax(-1) == maps[:, 1].argmax(-1)).mean())
    perfect = np.repeat(np.eye(4, dtype=np.float32)[true[..., 0]][:, None], 2, 1)
    assert run("regions", {"test": Split(perfect, {"r": true})}, label="r").metrics() == {
        "mean_iou": 1.0,
        "view_agreement": 1.0,
    }
