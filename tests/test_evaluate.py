"""The evaluation of encoders from end to end, on tiny records, and what is said of input that is not right."""

import importlib
import json
import pathlib
import re

import cv2
import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny_experiment
from random_inputs import generator
from sklearn import decomposition

from facejax import columns, evaluate, feature_store, judgement
from facejax.columns import Presentation
from facejax.config_schema import evaluation as schema
from facejax.data import records
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.evaluation import chart, floors
from facejax.evaluation.protocols import PROTOCOLS
from facejax.preprocessing import Preprocessing

SIZE = 16
EXPERIMENTS = pathlib.Path(__file__).parents[1] / "experiments" / "evaluate"
CONFIG = """
import ml_collections
def get_config():
    return ml_collections.ConfigDict(dict(draws=20, tasks=dict(faces=dict(protocol="knn", label="label", data={!r}))))
"""


@pytest.fixture(scope="module", autouse=True)
def short(quick_compilation):
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        # Each length of features is compiled anew.
        kept = {name: floors.FLOORS[name] for name in ("HOG", "fixed blocks")}
        patch.setattr(floors, "FLOORS", {**kept, "pixels": floors.Floor(2, floors.pixels)})
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with records, and with an encoder."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    features = {"image": tfds.features.Image(encoding_format="png")} | {
        "label": np.int64,
        "person": np.int64,
        "pose": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
        "regions": tfds.features.Image(shape=(SIZE, SIZE, 1), encoding_format="png"),
    }
    parts = rng.integers(0, 3, (SIZE, SIZE, 1), np.uint8)
    colors = rng.integers(0, 200, (4, 1, 1, 3))

    def example(index):
        image = colors[index % 4] + rng.integers(0, 55, (SIZE + 4, SIZE, 3))
        encoded = cv2.imencode(".png", image.astype(np.uint8))[1].tobytes()
        return {
            "image": encoded,
            "label": index % 4,
            "person": index // 4,
            "pose": np.float32(image[0, 0, :2]),
            "landmarks": rng.uniform(0, SIZE, (68, 2)).astype(np.float32),
            "regions": cv2.imencode(".png", np.roll(parts, index, 0))[1].tobytes(),
        }

    splits = {"train": [example(i) for i in range(40)], "test": [example(i) for i in range(32)]}
    splits["three"] = [each for each in splits["train"] if each["label"] < 3]
    records.write(folder / "faces", records.Info("faces", features), splits)
    encoder = Encoder.random("resnet", {"backbone": "resnet18", "width": 4}, Preprocessing(SIZE))
    encoder.save(folder / "one")
    return folder


def config(world, **tasks):
    """One task on the tiny records, or several."""
    return ml_collections.ConfigDict(
        {"draws": 20, "tasks": {name: {"data": str(world / "faces"), **task} for name, task in tasks.items()}}
    )


KNN = dict(protocol="knn", label="label", groups="person", k=3)


def test_command(world, monkeypatch, capsys, tmp_path):
    (tmp_path / "config.py").write_text(CONFIG.format(str(world / "faces")))
    out = tmp_path / "out"
    arguments = ["evaluate", str(world / "one"), f"--config={tmp_path}/config.py", "--config.draws=15", f"--out={out}"]
    values = evaluate.define_flags()
    monkeypatch.setattr("sys.argv", arguments)  # where ml_collections looks for --config.key=value
    encoders = evaluate.parse(arguments, values)
    text = judgement.judge(encoders, values.config, out=values.out, cache=tmp_path / "cache")
    title, header, _, knn, words, *_ = text.splitlines()
    assert title == "faces: knn, 32 images" and "(15 times)" in text
    names = ["one", "untrained", "HOG", "pixels"]
    assert re.split(r"\s{2,}", header.strip()) == names
    assert knn.startswith("knn_accuracy") and words.startswith("knn_accuracy: one ")
    numbers = json.loads((out / "results.json").read_text())
    assert list(numbers["tasks"]["faces"]["metrics"]["knn_accuracy"]["columns"]) == names
    assert numbers["encoders"]["one"]["method"] == "random" and numbers["config"]["draws"] == 15
    assert (out / "results.txt").read_text() == text + "\n" and (out / "faces.png").stat().st_size > 1000
    with pytest.raises(UserError, match="holds results already"):
        judgement.judge(encoders, values.config, out=values.out)


class Pictures:
    """Images of which one cannot be read."""

    def __init__(self, count: int, damaged: int):
        self._images = generator().integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
        self._damaged = damaged

    def __len__(self):
        return len(self._images)

    def read(self, position, at_least):
        if position == self._damaged:
            raise ValueError("damaged")
        return self._images[position]


def rows_of(column, pictures, presentation):
    """(positions, rows of the only kind, what was unreadable) of a column."""
    unreadable = {}
    parts = list(column.rows(pictures, presentation, unreadable.__setitem__))
    ((kind,),) = {tuple(part.features) for part in parts}
    rows = np.concatenate([part.features[kind] for part in parts])
    return np.concatenate([part.positions for part in parts]).tolist(), rows, unreadable


def test_rows_of_a_floor_are_those_of_its_images():
    pictures, floor = Pictures(5, damaged=1), floors.Floor(4, floors.pixels)
    positions, rows, unreadable = rows_of(columns.FloorColumn("pixels", floor), pictures, Presentation())
    assert positions == [0, 2, 3, 4] and unreadable == {1: "damaged"}
    np.testing.assert_array_equal(rows, [floor.rows(pictures.read(position, 0)) for position in positions])


def test_heatmaps_of_mirror_images_are_mirrored_back():
    settings = {"backbone": "resnet18", "width": 4, "embedding_dim": 6, "hidden_dim": 8, "num_regions": 3}
    encoder, pictures = Encoder.random("fra", settings, Preprocessing(2 * SIZE)), Pictures(3, damaged=0)
    column = columns.EncoderColumn("regions", encoder)
    positions, rows, unreadable = rows_of(column, pictures, Presentation(kind="heatmaps"))
    assert positions == [1, 2] and unreadable == {0: "damaged"}
    images = np.stack([pictures.read(position, 0) for position in positions])
    np.testing.assert_allclose(rows[:, 0], encoder.heatmaps(images), atol=1e-6)
    np.testing.assert_allclose(rows[:, 1], encoder.heatmaps(images[:, :, ::-1])[:, :, ::-1], atol=1e-6)
    assert rows.shape[3] > 1 and np.abs(rows[:, 1] - rows[:, 1, :, ::-1]).max() > 1e-4  # that the mirror is seen


def test_every_protocol(world, monkeypatch, tmp_path):
    """On an encoder with regions; what an encoder or a floor cannot do stays empty, or is refused."""
    few = floors.Floor(4, lambda square: floors.pixels(square)[:32])  # as many as the encoder's: compiled once for both
    monkeypatch.setattr(floors, "FLOORS", {"pixels": few, "fixed blocks": floors.FLOORS["fixed blocks"]})
    monkeypatch.setattr(chart, "draw", lambda result: result.name.encode())
    settings = {"backbone": "resnet18", "width": 4, "embedding_dim": 6, "hidden_dim": 8, "num_regions": 3}
    Encoder.random("fra", settings, Preprocessing(SIZE)).save(tmp_path / "regions")
    labelled, pose = dict(label="label", groups="person"), dict(label="pose", names=("yaw", "pitch"))
    asked = dict(
        retrieval=dict(label="person", train_split="test"),
        closed_form=dict(labelled, protocol="linear", solver="closed_form"),
        linear=dict(label="label"),
        knn=KNN,
        few_shot=dict(labelled, shots=(1, 2), repeats=2),
        ridge=pose,
        batch_norm_linear=dict(pose, epochs=2, image_size=2 * SIZE, interpolation="bicubic"),
        action_units=dict(label="pose", threshold=90.0, folds=("train", "test")),
        alignment=dict(label="landmarks"),
        verification=dict(label="person", drawn=40, flip=True),
        ijb=dict(groups="person", images_of_a_template=2),
        regions=dict(label="regions", names=("background", "skin", "eyes")),
    )
    protocols = {name: {"protocol": name} | task for name, task in asked.items()}
    outputs = {"classification", "landmarks"}  # of a head that was trained, which other tests ask for
    assert {task["protocol"] for task in protocols.values()} == PROTOCOLS.keys() - outputs
    text = judgement.judge([tmp_path / "regions"], config(world, **protocols), out=tmp_path / "out", cache=tmp_path)
    numbers = json.loads((tmp_path / "out" / "results.json").read_text())["tasks"]
    for name, task in numbers.items():
        assert (tmp_path / "out" / f"{name}.png").read_text() == name
        floor = "fixed blocks" if name == "regions" else "pixels"
        for metric in task["metrics"].values():
            assert list(metric["columns"]) == ["regions", "untrained", floor]
    assert {"iou_skin", "mean_iou", "view_agreement"} == numbers["regions"]["metrics"].keys() - {"iou_eyes"}
    assert numbers["batch_norm_linear"]["metrics"]["mae_yaw"]["higher_is_better"] is False
    assert "tpir_at_fpir_0.1" in numbers["ijb"]["metrics"] and "verification: verification, 40 pairs" in text
    with pytest.raises(UserError, match="one has no heatmaps: only encoders that find regions"):
        judgement.judge([world / "one"], config(world, x=protocols["regions"]), cache=tmp_path)


def test_features_are_extracted_once(world, monkeypatch, tmp_path):
    """They are found again by another process of the same weights, and are those that the encoder gives."""
    asked = config(world, one=KNN, two={**KNN, "groups": None})
    first = judgement.judge([world / "one"], asked, cache=tmp_path)
    monkeypatch.setattr(feature_store.FeatureStore, "_extract", lambda *_: pytest.fail("extracted again"))
    assert judgement.judge([world / "one"], asked, cache=tmp_path) == first
    assert "one: knn, 8 people" in first and "two: knn, 32 images" in first
    column = columns.of_sources([world / "one"])[0]
    source = records.open_split(world / "faces", "test")
    split = feature_store.FeatureStore(tmp_path).get(column, source, Presentation(), ["pooled"])["pooled"]
    images = [records.read_with_image(source, i)[1] for i in range(len(source))]
    np.testing.assert_allclose(split.features, column.encoder.embed(images), rtol=1e-5, atol=1e-6)
    assert split.fields["label"].tolist() == [i % 4 for i in range(32)] and split.there.all()


def test_what_the_features_depend_on(world):
    column = columns.of_sources([world / "one"])[0]
    digests = {
        column.digest(presentation)
        for presentation in (
            Presentation(),
            Presentation(flip=True),
            Presentation(input_range="half"),
            Presentation(image_size=2 * SIZE),
            Presentation(interpolation="bicubic"),
        )
    }
    assert len(digests) == 5
    kernel = column.encoder.variables["params"]["backbone"]["conv1"]["kernel"]
    before = columns.weights_digest(column.encoder)
    kernel.flat[0] += 1
    assert columns.weights_digest(column.encoder) != before
    splits = [records.open_split(world / "faces", split) for split in ("train", "test")]
    assert feature_store.fingerprint(splits[0]) != feature_store.fingerprint(splits[1])


def test_damaged_entries_are_made_again(world, tmp_path):
    store = feature_store.FeatureStore(tmp_path)
    floor = next(one for one in columns.of_sources([world / "one"]) if one.name == "pixels")
    source = records.open_split(world / "faces", "test")
    before = store.get(floor, source, Presentation(), ["features"])["features"].features.copy()
    [entry] = tmp_path.iterdir()
    (entry / "features.npy").write_bytes(b"nothing")
    np.testing.assert_array_equal(store.get(floor, source, Presentation(), ["features"])["features"].features, before)


BAD = {
    "no such protocol": (dict(KNN, protocol="vote"), r"config\.tasks\.x\.protocol = 'vote': there are: knn, "),
    "no such key": (dict(KNN, neighbours=3), r"config\.tasks\.x\.neighbours: no such key; there are: "),
    "no such field": (
        dict(KNN, label="mood"),
        r"config\.tasks\.x: .* has no field 'mood'; it has: image, ",
    ),
    "no such split": (dict(KNN, test_split="dev"), r"has no split 'dev'"),
    "a kind that the encoder has not": (dict(KNN, kind="pose"), r"x\.kind: one: there are no features 'pose'"),
    "a label of another kind": (dict(KNN, label="pose"), "'knn' needs one integer for an image, but 'pose' is float32"),
    "one split": (
        dict(protocol="linear", label="label", train_split="test"),
        r"config\.tasks\.x: 'linear' needs a train_split other than its test_split",
    ),
    "no pairs": (dict(protocol="verification", label="label"), r"'verification' needs one 0 or 1"),
}


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_configs(path):
    module = importlib.import_module(f"experiments.evaluate.{path.stem}")
    if path.stem != "common":
        _, tasks = schema.check(module.get_config())
        assert tasks and f"--config=experiments/evaluate/{path.name}" in module.__doc__
        with pytest.raises(ValueError, match="takes no argument"):
            module.get_config("demo")


def test_pixels():
    image = np.random.default_rng(0).integers(0, 256, (2, 2, 3), np.uint8)
    np.testing.assert_allclose(floors.Floor(2, floors.pixels).rows(image), image.ravel() / 255, rtol=1e-6)


@pytest.mark.parametrize(("fitted", "dimensions", "kept"), [(20, 40, 19), (60, 12, 12)])
def test_principal_components_equal_scikit_learn(fitted, dimensions, kept):
    # Directions that are well apart.
    rows = np.random.default_rng(0).normal(size=(fitted + 10, dimensions)) * 1.5 ** -np.arange(dimensions)
    found = floors.principal_components(rows[:fitted], rows[fitted:])
    reference = decomposition.PCA(8, svd_solver="full").fit(rows[:fitted])
    for part, given in zip(found, (rows[:fitted], rows[fitted:]), strict=True):
        assert part.shape == (len(given), kept)
        np.testing.assert_allclose(np.abs(part[:, :8]), np.abs(reference.transform(given)), atol=1e-5)  # signs are free


@pytest.mark.parametrize(("task", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line(world, tmp_path_factory, task, message):
    with pytest.raises(UserError, match=message):
        judgement.judge([world / "one"], config(world, x=task), cache=world / "cache")


def test_class_that_the_training_split_lacks(world, caplog):
    with caplog.at_level("WARNING"):
        judgement.judge([world / "one"], config(world, x={**KNN, "train_split": "three"}), cache=world / "cache")
    assert "config.tasks.x: 1 classes (3) of the test split are not in the training split" in caplog.text


def test_features_that_are_not_finite(world, tmp_path):
    encoder = Encoder.random("resnet", {"backbone": "resnet18", "width": 4}, Preprocessing(SIZE))
    encoder.variables["params"]["backbone"]["conv1"]["kernel"] *= np.nan
    encoder.save(tmp_path / "nan")
    with pytest.raises(UserError, match=r"nan: the features 'pooled' of 40 of 40 images of .*faces \(train\) are not"):
        judgement.judge([tmp_path / "nan"], config(world, x=KNN), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_encoders_that_are_named_twice_or_not_at_all(world, monkeypatch):
    with pytest.raises(UserError, match="is named twice"):
        judgement.judge([world / "one"] * 2, config(world, x=KNN))
    for arguments, message in (
        (["evaluate", "--config=experiments/evaluate/synthetic.py"], "name an encoder: python -m facejax.evaluate"),
        (["evaluate", "one"], "--config is missing: "),
        (["evaluate", "one", "--config=nothing.py"], "there is no file nothing.py"),
    ):
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(UserError, match=message):
            evaluate.parse(arguments, evaluate.define_flags())
