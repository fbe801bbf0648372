"""What a run does with damaged records when it evaluates and draws, and with damaged results."""

import types
from unittest import mock

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from facejax import cluster, evaluator, main, pictures, sharding, train
from facejax.architectures import Architecture
from facejax.data import records
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError
from facejax.evaluation import metrics_file, suite
from facejax.files import write_json
from facejax.pictures import Caption
from facejax.preprocessing import Preprocessing

SIZE, RECORDS = 8, 21
FEATURES = {"image": tfds.features.Image(encoding_format="png"), "identity": np.int64}


class Pixels(Architecture):
    """Features are pixels."""

    kinds = ("pixels",)
    captions = {  # noqa: RUF012
        "negative": Caption("each face as a negative", legend=(("red", (255, 0, 0)),)),
        "pair": Caption(columns=("face", "again")),
    }

    def init(self, rng, images):
        return {}

    def encode(self, variables, images):
        return {"pixels": images.reshape(len(images), -1)}

    def pictures(self, variables, images, pixels):
        return {"negative": 255 - pixels, "pair": jnp.concatenate([pixels, pixels], axis=2)}


class LearnsNothing:
    """A method whose encoder sees pixels."""

    preprocessing = Preprocessing(SIZE)
    architecture = Pixels()

    def __init__(self, config):
        self.config = config

    def eval_variables(self, state):
        return state


class Silent:
    """A reporter that keeps the pictures."""

    def __init__(self):
        self.pictures = {}

    def scalars(self, step, values):
        pass

    def picture(self, step, name, image):
        self.pictures[name] = image


def write(folder, identities):
    """Records whose pixels tell the identity; returns the opened split."""
    rows = []
    for i in identities:
        image = np.random.default_rng(i).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        image[0, 0] = i * 10
        rows.append({"image": cv2.imencode(".png", image)[1].tobytes(), "identity": i % 4})
    records.write(folder, records.Info("faces", FEATURES), {"test": rows})
    return records.open_split(folder, "test")


def damage(source, i):
    (path, image) = source.where(i).split(",")[0], source[i]["image"]
    data = bytearray(open(path, "rb").read())
    data[data.index(image) + 9] ^= 1
    open(path, "wb").write(data)


def evaluate(source, workdir, skip_corrupt, reporter=None):
    config = types.SimpleNamespace(
        method="pixels", batch_size=4, image_size=SIZE, data=types.SimpleNamespace(skip_corrupt=skip_corrupt)
    )
    evaluation = suite.Evaluation(label="identity", probes=("knn",), data="faces", train_split="test", k=1)
    mesh = sharding.make_mesh({"data": -1})
    arguments = {"x": evaluation}, {("faces", "test"): source}, source, reporter or Silent(), workdir
    return evaluator.Evaluator(LearnsNothing(config), mesh, *arguments).evaluate(0, {})


def test_what_is_judged_is_what_the_method_says(tmp_path, monkeypatch):
    """The teacher, where there is one: an encoder that sees nothing but `eval_variables` of the state."""
    seen = []

    class Scaled(Pixels):
        def init(self, rng, images):
            return {"teacher": jnp.ones(())}

        def encode(self, variables, images):
            seen.append(set(variables))
            return {"pixels": variables["teacher"] * images.reshape(len(images), -1)}

    monkeypatch.setattr(LearnsNothing, "architecture", Scaled())
    monkeypatch.setattr(LearnsNothing, "eval_variables", lambda self, state: {"teacher": np.float32(1), "more": 0})
    evaluate(write(tmp_path / "faces", range(RECORDS)), tmp_path / "workdir", False)
    assert seen and all(variables == {"teacher"} for variables in seen)


def test_damaged_records_are_left_out_if_asked_for(tmp_path):
    bad = [0, 9, RECORDS - 1]
    expected = evaluate(write(tmp_path / "good", [i for i in range(RECORDS) if i not in bad]), tmp_path / "0", False)
    source = write(tmp_path / "bad", range(RECORDS))
    for i in bad:
        damage(source, i)
    assert evaluate(source, tmp_path / "1", True) == expected
    with pytest.raises(CorruptRecord, match="record 0: checksum"):
        evaluate(source, tmp_path / "2", False)


def test_pictures_are_large_enough_and_explained(tmp_path):
    reporter = Silent()
    source = write(tmp_path / "faces", range(RECORDS))
    evaluate(source, tmp_path, False, reporter)
    faces = evaluator.faces_to_draw(source, Preprocessing(SIZE))
    large = pictures.enlarge(faces, 96 // SIZE)
    assert reporter.pictures.keys() == {"pixels", "pixels_pair"}
    expected = pictures.sheet(
        [large, 255 - large], labels=["the faces", "each face as a negative"], legend=[("red", (255, 0, 0))]
    )
    np.testing.assert_array_equal(reporter.pictures["pixels"], expected)
    expected = pictures.sheet([[face, face] for face in large], columns=["face", "again"])
    np.testing.assert_array_equal(reporter.pictures["pixels_pair"], expected)


def test_another_face_is_drawn_in_the_place_of_a_damaged_one(tmp_path):
    source = write(tmp_path / "faces", range(RECORDS))
    drawn = [0, 3, 6, 9, 11, 14, 17, 20]  # of 21 records, evenly
    assert evaluator.faces_to_draw(source, Preprocessing(SIZE))[:, 0, 0, 0].tolist() == [10 * i for i in drawn]
    for i in (3, 4, RECORDS - 1):
        damage(source, i)
    with pytest.raises(CorruptRecord, match="record 3: checksum"):
        evaluator.faces_to_draw(source, Preprocessing(SIZE))
    faces = evaluator.faces_to_draw(source, Preprocessing(SIZE), skip_corrupt=True)
    assert faces[:, 0, 0, 0].tolist() == [10 * i for i in (0, 5, 6, 9, 11, 14, 17, 0)]


def test_no_face_can_be_drawn(tmp_path):
    rows = [{"image": b"no image", "identity": 0}] * 3
    records.write(tmp_path / "faces", records.Info("faces", FEATURES), {"test": rows})
    source = records.open_split(tmp_path / "faces", "test")
    with pytest.raises(CorruptRecord, match="record 0: image: not an image"):
        evaluator.faces_to_draw(source, Preprocessing(SIZE))
    with pytest.raises(UserError, match="no record can be read"):
        evaluator.faces_to_draw(source, Preprocessing(SIZE), skip_corrupt=True)


def test_a_run_that_meets_a_damaged_record_names_the_option(monkeypatch):
    def meets_one(config, workdir):
        raise CorruptRecord("faces-train, record 3: checksum of the data does not match")

    monkeypatch.setattr(train, "train", meets_one)
    monkeypatch.setattr(main, "FLAGS", mock.MagicMock())
    monkeypatch.setattr(cluster, "join", mock.Mock())
    with pytest.raises(UserError, match=r"record 3: checksum .*--config\.data\.skip_corrupt=True"):
        main.run(None)


def test_metrics_are_read_back(tmp_path):
    file = epath.Path(tmp_path) / "step_00000000.json"
    assert metrics_file.read(file) is None
    write_json(file, {"identity/knn_accuracy": 0.25, "pose/mae": 1.0})
    assert metrics_file.read(file) == {"identity/knn_accuracy": 0.25, "pose/mae": 1.0}


@pytest.mark.parametrize(
    "content", ["", '{"identity/knn', "\x00\x00", "[0.5]", "0.5", '{"identity/knn_accuracy": "high"}', "[" * 100_000]
)
def test_damaged_ones_are_named_and_done_again(tmp_path, caplog, content):
    file = epath.Path(tmp_path) / "step_00000000.json"
    file.write_text(content)
    with caplog.at_level("WARNING"):
        assert metrics_file.read(file) is None
    assert "step_00000000.json is damaged" in caplog.text and "evaluated again" in caplog.text
