import types
from typing import get_args

import cv2
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from jax.sharding import NamedSharding, PartitionSpec
from random_inputs import generator

from facejax.data import pipeline, records
from facejax.errors import UserError
from facejax.evaluation import alignment, linear_probe, nearest_neighbours, ridge, suite, verification
from facejax.evaluation.protocols import PROTOCOLS, higher_is_better

SIZE, BATCH = 8, 16


class Faces:
    """Images whose pixels carry the labels, in batches as the pipeline gives them; counts what is asked for."""

    def __init__(self, seed, train=150, test=90):
        self.calls, self.fields = [], {}
        rng = np.random.default_rng(seed)
        for split, num in (("train", train), ("test", test)):
            image = rng.integers(0, 256, (num, SIZE, SIZE, 3), np.uint8)
            expression = image[:, 0, 0, 0].astype(int) // 64
            pose = image[:, 1, :3, 1].astype("f4") - 128
            self.fields[split] = {
                "image": image,
                "expression": expression,
                "identity": image[:, 2, 2, 0].astype(int) // 32,
                "pose": pose,
                "attributes": (image[:, 3, :4, 2] > [60, 128, 128, 250]).astype(int),
                "intensity": image[:, 3, :4, 2] / np.float32(255),
                "same": np.repeat(rng.integers(0, 2, (num + 1) // 2), 2)[:num],
                "name": np.array([b"a"] * num),
            }

    def __call__(self, folder, split, fields):
        self.calls.append((folder, split, fields))
        wanted = {"image": None} | dict.fromkeys(f for f in fields if f in self.fields[split])
        total = len(self.fields[split]["image"])
        for start in range(0, total, BATCH):
            batch = {}
            for field in wanted:
                values = self.fields[split][field][start : start + BATCH]
                batch[field] = np.concatenate([values, np.repeat(values[:1], BATCH - len(values), 0)])
            yield batch | {"mask": np.arange(start, start + BATCH) < total}


def parse(evaluations):
    """As the schema makes them of a config."""
    return {name: suite.Evaluation(**settings) for name, settings in evaluations.items()}


@jax.jit
def encode(images):
    assert images.shape == (BATCH, SIZE, SIZE, 3)
    return images[:, :4].reshape(BATCH, -1).astype("float32")  # whole numbers: the same bits wherever they are computed


@pytest.fixture(scope="module")
def faces():
    return Faces(np.random.SeedSequence().entropy)


def everything():
    common = dict(data="faces")
    return {
        "expression": dict(label="expression", probes=("knn", "linear"), k=7, **common),
        "identity": dict(
            label="identity", probes=("retrieval", "knn"), train_split="test", test_split="test", **common
        ),
        "attributes": dict(label="attributes", probes=("linear",), groups="identity", **common),
        "pose": dict(label="pose", probes=("ridge",), names=("yaw", "pitch", "roll"), **common),
        "units": dict(label="intensity", probes=("linear", "ridge"), threshold=0.5, **common),
        "pairs": dict(label="same", probes=("verification",), **common),
    }


def test_all_metrics_from_one_extraction_of_each_split(faces):
    faces.calls.clear()
    metrics = suite.evaluate(encode, parse(everything()), faces)
    assert sorted(faces.calls) == [
        ("faces", "test", ("attributes", "expression", "identity", "intensity", "pose", "same")),
        ("faces", "train", ("attributes", "expression", "identity", "intensity", "pose")),
    ]
    assert {
        "expression/knn_accuracy", "expression/linear_accuracy", "expression/linear_mean_class_accuracy",
        "identity/top1_accuracy", "identity/knn_accuracy",
        "attributes/mean_accuracy", "attributes/mean_balanced_accuracy", "attributes/mean_f1",
        "pose/mae", "pose/mae_yaw", "pose/mae_pitch", "pose/mae_roll",
        "pose/r2", "pose/r2_yaw", "pose/r2_pitch", "pose/r2_roll",
        "units/mean_accuracy", "units/mean_balanced_accuracy", "units/mean_f1", "units/mae", "units/r2",
        "pairs/verification_accuracy", "pairs/tar_at_far_1e-1",
    } == metrics.keys()  # fmt: skip
    assert all(type(value) is float and np.isfinite(value) for value in metrics.values())
    train, test = (faces.fields[split] for split in ("train", "test"))
    flat = [split["image"][:, :4].reshape(-1, 96).astype("f4") for split in (train, test)]

    def directly(probe, label, **options):  # on arrays without padding, in the order of the records
        return probe(flat[0], train[label], flat[1], test[label], **options)

    knn = nearest_neighbours.knn_accuracy
    assert metrics["expression/knn_accuracy"] == directly(knn, "expression", k=7)
    assert metrics["identity/top1_accuracy"] == knn(flat[1], test["identity"], k=1)
    assert metrics["identity/knn_accuracy"] == knn(flat[1], test["identity"], k=20)
    classes = directly(linear_probe.linear_probe, "expression")
    assert metrics["expression/linear_accuracy"] == classes.accuracy
    assert metrics["expression/linear_mean_class_accuracy"] == classes.mean_class_accuracy
    attributes = directly(linear_probe.attribute_probe, "attributes", groups=train["identity"])
    assert metrics["attributes/mean_accuracy"] == attributes.accuracy.mean()
    pose = directly(ridge.ridge_regression, "pose")
    np.testing.assert_array_equal(
        pose.mean_absolute_error, [metrics[f"pose/mae_{n}"] for n in ("yaw", "pitch", "roll")]
    )
    assert metrics["pose/mae"] == pose.mean_absolute_error.mean() and metrics["pose/r2"] == pose.r2.mean() > 0.8
    pairs = verification.verify_pairs(flat[1], test["same"][::2])
    assert metrics["pairs/verification_accuracy"] == pairs.accuracy


def test_each_kind_of_features_has_its_metrics(faces):
    def two_kinds(images):
        return {"all": encode(images), "none": np.zeros((BATCH, 3))}

    pose = dict(label="pose", probes=("ridge",), data="faces")
    metrics = suite.evaluate(two_kinds, parse({"pose": pose}), faces)
    assert metrics.keys() == {"pose/all/mae", "pose/all/r2", "pose/none/mae", "pose/none/r2"}
    assert metrics["pose/all/mae"] < metrics["pose/none/mae"]
    assert metrics["pose/all/mae"] == suite.evaluate(encode, parse({"pose": pose}), faces)["pose/mae"]


def test_only_the_kinds_that_are_asked_for_are_judged(faces):
    def two_kinds(images):
        return {"all": encode(images), "none": np.zeros((BATCH, 3))}

    pose = dict(label="pose", probes=("ridge",), data="faces", kinds=("all",))
    metrics = suite.evaluate(two_kinds, parse({"pose": pose}), faces)
    assert metrics.keys() == {"pose/all/mae", "pose/all/r2"}
    with pytest.raises(UserError, match=r"pose\.kinds: there are no features 'some'; there are: all, none"):
        suite.evaluate(two_kinds, parse({"pose": pose | {"kinds": ("some",)}}), faces)


def test_landmarks_that_the_features_tell_have_no_error():
    rng, shape = generator(), (68, 2)
    mean, moves = rng.uniform(0, 100, shape), rng.normal(size=(6, *shape))

    def batches(folder, split, fields):
        for _ in range(8):
            image = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
            known = image[:, 0, :6, 0].astype(float) / 255
            landmarks = mean + np.einsum("nk,kpd->npd", known, moves)
            yield {"image": image, "landmarks": landmarks.astype("f4"), "mask": np.ones(BATCH, bool)}

    points = parse({"points": dict(label="landmarks", probes=("alignment",), data="faces")})
    told = suite.evaluate(lambda images: images[:, 0, :6, 0].astype("f4"), points, batches)
    untold = suite.evaluate(lambda images: images[:, 1, :6, 0].astype("f4"), points, batches)
    assert told["points/nme"] < 0.2 * untold["points/nme"]
    assert told.keys() == {"points/nme", "points/failure_rate", "points/auc"}


def test_features_may_be_spread_over_a_mesh(faces):
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    spread = jax.jit(encode, out_shardings=NamedSharding(mesh, PartitionSpec("data")))
    evaluations = parse({"expression": dict(label="expression", probes=("knn",), data="faces")})
    assert suite.evaluate(spread, evaluations, faces) == suite.evaluate(encode, evaluations, faces)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(label="pose"), "'knn' needs one integer for an image, but 'pose' is float32 \\[3\\]"),
        (dict(label="pose", probes=("linear",)), "'linear' needs one integer, or several zeros and ones"),
        (dict(label="name", probes=("ridge",)), "'ridge' needs one or several numbers"),
        (dict(label="pose", probes=("ridge",), names=("yaw",)), "names has 1 names, but 'pose' has 3 entries"),
        (dict(label="pose", probes=("alignment",)), r"'alignment' needs \[P, 2\] points for an image, but 'pose' is"),
        (dict(probes=("verification",)), "'verification' needs one 0 or 1"),
    ],
)
def test_a_label_that_does_not_suit_is_said(faces, settings, message):
    evaluations = parse({"x": dict(label="expression", probes=("knn",), data="faces") | settings})
    with pytest.raises(UserError, match=message):
        suite.evaluate(encode, evaluations, faces)


def test_an_optional_evaluation_is_left_out_where_the_records_lack_the_label(caplog):
    on = {"data": "photos", "probes": ("knn",), "test_split": "train"}
    evaluations = parse(
        {
            "identity": {**on, "label": "identity", "optional": True},
            "class": {**on, "label": "label", "optional": True},
            "age": {**on, "label": "age"},
        }
    )
    photos = types.SimpleNamespace(features={"image": None, "identity": None})
    with caplog.at_level("INFO"):
        left = suite.without_unlabelled(evaluations, {("photos", "train"): photos})
    assert list(left) == ["identity", "age"]  # what is asked for without reserve stays, and fails when it is read
    assert "photos has no field 'label': no evaluation 'class'" in caplog.text


def test_records_on_disk(faces, tmp_path):
    test, dtypes = faces.fields["test"], {"identity": np.int64, "attributes": np.int64, "pose": np.float32}
    features = {"image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png")}
    for field, dtype in dtypes.items():
        features[field] = tfds.features.Tensor(shape=test[field].shape[1:], dtype=dtype)
    examples = {
        split: [
            {"image": cv2.imencode(".png", values["image"][i][..., ::-1])[1].tobytes()}
            | {field: values[field][i].astype(dtype) for field, dtype in dtypes.items()}
            for i in range(len(values["image"]))
        ]
        for split, values in faces.fields.items()
    }
    records.write(tmp_path / "faces", records.Info("faces", features), examples)

    def batches(folder, split, fields):
        source = records.open_split(folder, split)
        return pipeline.evaluation_batches(source, pipeline.Reading(BATCH, SIZE, ("image", *fields)))

    config = everything()
    evaluations = parse({name: config[name] for name in ("identity", "attributes", "pose")})
    from_disk = {n: e.model_copy(update={"data": str(tmp_path / "faces")}) for n, e in evaluations.items()}
    assert suite.evaluate(encode, from_disk, batches) == suite.evaluate(encode, evaluations, faces)
    with pytest.raises(UserError, match=r"no field 'mood'.*attributes, identity, image, pose"):
        suite.evaluate(encode, {"x": from_disk["pose"].model_copy(update={"label": "mood"})}, batches)


def test_features_that_are_not_finite_are_named(faces):
    def diverged(images):
        return {"face": encode(images), "pose": encode(images).at[3].set(np.nan)}

    evaluations = parse({"x": dict(label="expression", probes=("knn",), data="faces")})
    with pytest.raises(UserError, match=r"features 'pose' of 6 of 90 images of faces \(test\) are not finite"):
        suite.evaluate(diverged, evaluations, faces)


def test_an_empty_split_and_broken_pairs_are_said(faces):
    evaluations = parse({"x": dict(label="expression", probes=("knn",), data="faces")})
    with pytest.raises(UserError, match=r"faces \(test\) has no images"):
        suite.evaluate(encode, evaluations, lambda *place: iter(()))
    odd = Faces(0, test=31)
    evaluations = parse({"x": dict(label="same", probes=("verification",), data="faces")})
    with pytest.raises(UserError, match="needs at least 10 pairs"):
        suite.evaluate(encode, evaluations, odd)


def test_skipped_records_count_in_no_metric(faces, caplog):
    """Neither their features nor their labels, nor the partner of a skipped one of a pair."""
    skipped = {"train": [0, 77], "test": [3, 16, 17, 89]}

    def skipping(folder, split, fields):
        for number, batch in enumerate(faces(folder, split, fields)):
            bad = np.isin(number * BATCH + np.arange(BATCH), skipped[split])
            nothing = {name: np.where(bad.reshape(-1, *[1] * (x.ndim - 1)), 0, x) for name, x in batch.items()}
            yield nothing | {"mask": batch["mask"] & ~bad, "skipped": bad.astype(int)}

    def without(removed):
        left = Faces(0)
        for split, fields in faces.fields.items():
            left.fields[split] = {name: np.delete(values, removed[split], 0) for name, values in fields.items()}
        return left

    evaluations = everything()
    pairs = parse({"pairs": evaluations.pop("pairs")})
    found = suite.evaluate(encode, parse(evaluations), skipping)
    assert found == suite.evaluate(encode, parse(evaluations), without(skipped))
    with caplog.at_level("WARNING"):
        found = suite.evaluate(encode, pairs, skipping)
    assert found == suite.evaluate(encode, pairs, without({"train": [], "test": [2, 3, 16, 17, 88, 89]}))
    assert "2 images whose partners were skipped are left out" in caplog.text


def test_a_class_that_only_the_test_split_has_counts_as_wrong_and_is_said(caplog):
    faces = Faces(1)
    faces.fields["test"]["expression"][:9] = 77
    evaluations = parse({"x": dict(label="expression", probes=("knn", "linear"), data="faces")})
    with caplog.at_level("WARNING"):
        metrics = suite.evaluate(encode, evaluations, faces)
    assert "1 classes (77) of the test split are not in the training split; their images, 10.0 %" in caplog.text
    assert max(metrics["x/knn_accuracy"], metrics["x/linear_accuracy"]) <= 0.9


def test_every_probe_has_a_function():
    assert set(get_args(suite.Probe)) <= PROTOCOLS.keys()


def test_images_are_presented_as_an_evaluation_asks():
    """With pixels as features: the mirror image is added, and half the range is x / 255 - 0.5 after normalisation."""
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)

    def present(**settings):
        evaluation = suite.Evaluation(label="same", probes=("verification",), data="faces", **settings)
        return evaluation.encode(lambda x: {"pixels": (x.astype(np.float32) / 255 - 0.5) / 0.5}, images)["pixels"]

    trained = (images / 255 - 0.5) / 0.5
    np.testing.assert_allclose(present(), trained, atol=1e-6)
    np.testing.assert_allclose(present(input_range="half"), images / 255 - 0.5, atol=1e-6)
    np.testing.assert_allclose(present(flip=True), trained + trained[:, :, ::-1], atol=1e-6)


def test_one_split_presented_in_two_ways_is_extracted_twice(faces):
    evaluations = {
        name: dict(label="same", probes=("verification",), data="faces", flip=flip)
        for name, flip in (("plain", False), ("mirrored", True), ("again", True))
    }
    faces.calls.clear()
    metrics = suite.evaluate(encode, parse(evaluations), faces)
    assert len(faces.calls) == 2
    assert metrics["again/verification_accuracy"] == metrics["mirrored/verification_accuracy"]


# --- Networks with a head of their own


class Answers:
    """Features that are given, in the place of images; labels next to them."""

    def __init__(self, features, **fields):
        self.features, self.fields = np.asarray(features, np.float32), fields
        self.pictures = {}

    def batches(self, folder, split, fields):
        assert split == "test"  # nothing is fitted
        total = len(self.features)
        for start in range(0, total, BATCH):
            rows = np.arange(start, start + BATCH).clip(max=total - 1)
            images = np.broadcast_to(rows[:, None, None, None].astype(np.uint8), (BATCH, SIZE, SIZE, 3))
            yield {"image": images, "mask": np.arange(start, start + BATCH) < total} | {
                field: self.fields[field][rows] for field in fields
            }

    def judge(self, locate=lambda points, sizes: points, **settings):
        evaluations = parse({"x": dict(data="faces", **settings)})

        def answer(images):
            return {"answers": self.features[images[:, 0, 0, 0]]}

        found = suite.evaluate(answer, evaluations, self.batches, self.pictures.__setitem__, locate)
        return {name.removeprefix("x/answers/"): value for name, value in found.items()}


def test_logits_are_judged_as_they_are(caplog):
    rng = generator()
    logits, labels = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    found = Answers(logits, expression=labels).judge(label="expression", probes=("classification",))
    assert found["accuracy"] == (logits.argmax(1) == labels).mean() and "mean_class_accuracy" in found
    assert "1 of 4 classes have no images" in caplog.text
    labels = rng.integers(0, 2, (40, 4))
    settings = {"label": "attributes", "probes": ("classification",), "names": ("a", "b", "c", "d")}
    found = Answers(logits, attributes=labels).judge(**settings)
    np.testing.assert_allclose(found["mean_accuracy"], ((logits >= 0) == labels).mean())
    np.testing.assert_allclose(found["accuracy_c"], ((logits >= 0) == labels)[:, 2].mean())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 4] * 20), r"'expression' of faces \(test\) is 0 to 4, but the network has 4 classes, from 0 on"),
        (np.array([-1, 2] * 20), "is -1 to 2, but the network has 4 classes"),
        (
            np.full((40, 3), 1),
            r"'classification' needs one integer, or 4 zeros and ones, but .* is int64 \[3\]",
        ),
        (np.full((40, 4), 2), "needs one integer, or 4 zeros and ones"),
    ],
)
def test_labels_that_do_not_suit_logits(labels, message):
    with pytest.raises(UserError, match=message):
        Answers(np.zeros((40, 4)), expression=labels).judge(label="expression", probes=("classification",))


def landmarks_of(rng, count):
    """Faces of images of 100 x 80, and guesses, from the middle of the first pixel."""
    true = rng.uniform(0, 80, (count, 68, 2)).astype(np.float32)
    return true, true + rng.normal(0, 1, true.shape).astype(np.float32), np.tile([100, 80], (count, 1))


def test_points_are_judged_in_the_pixels_of_the_image():
    rng = generator()
    true, guess, sizes = landmarks_of(rng, 30)
    flags = np.eye(3, dtype=np.uint8)[rng.integers(0, 2, 30)]  # the third subset is empty
    answers = Answers((guess / 2).reshape(30, -1), landmarks=true + 0.5, full_size=sizes, hard=flags)

    def twice(points, given):
        assert (given == sizes).all()
        return 2 * points

    settings = {"label": "landmarks", "probes": ("landmarks",), "thresholds": (0.05, 0.1), "origin": "corner"}
    found = answers.judge(twice, **settings, subset="hard", subset_names=("pose", "blur", "night"))
    expected = alignment.alignment(guess, true, threshold=0.05)
    assert found["nme"] == pytest.approx(expected.nme, rel=1e-5)
    assert found["failure_rate_5"] == expected.failure_rate and found["auc_5"] == pytest.approx(expected.auc, abs=1e-3)
    assert found["nme_pupils"] == pytest.approx(alignment.alignment(guess, true, by="pupils").nme, rel=1e-5)
    chosen = flags[:, 1] > 0
    assert found["nme_blur"] == pytest.approx(alignment.alignment(guess[chosen], true[chosen]).nme, rel=1e-5)
    assert not any("night" in name for name in found)
    assert answers.pictures["x_errors"].shape == (420, 640, 3)
    assert all(higher_is_better(f"x/answers/{name}") == name.startswith("auc") for name in found)


def test_subsets_by_number():
    rng = generator()
    true, guess, sizes = landmarks_of(rng, 12)
    answers = Answers(guess.reshape(12, -1), landmarks=true, full_size=sizes, subset=np.array([1, 2] * 6))
    settings = {"label": "landmarks", "probes": ("landmarks",), "subset": "subset"}
    found = answers.judge(**settings, subset_names=("train", "common", "challenging"))
    assert found["nme_common"] == pytest.approx(alignment.alignment(guess[::2], true[::2]).nme, rel=1e-5)
    assert "nme_train" not in found
    with pytest.raises(UserError, match=r"subset_names has 2 names, but 'subset' tells 3 subsets"):
        answers.judge(**settings, subset_names=("train", "common"))
    with pytest.raises(UserError, match=r"'landmarks' needs \[68, 2\] points for an image"):
        Answers(guess.reshape(12, -1), landmarks=true[:, :5], full_size=sizes).judge(
            label="landmarks", probes=("landmarks",)
        )
