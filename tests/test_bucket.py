"""Records and runs in a bucket instead of on a disk: written, read, trained on, interrupted, resumed, evaluated."""

import json
import os
import pickle
import signal

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny_experiment

import facejax
from data_prep import browse, conversion, image_folder
from facejax import reporting, train
from facejax.data import records
from facejax.errors import UserError
from facejax.interop import pretrained

FEATURES = {"image": tfds.features.Image(encoding_format="png"), "number": np.int64}
OUT = "gs://bucket/sets/faces"


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    """The working directory, in which no folder `gs:` may appear."""
    folder = tmp_path / "working_directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert not list(folder.iterdir())


class Examples:
    """A sequence for `records.write` that fails at an example, if told so."""

    def __init__(self, count, fails_at=None):
        self.count, self.fails_at = count, fails_at

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i == self.fails_at:
            raise KeyboardInterrupt
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8)
        return {"image": cv2.imencode(".png", pixels)[1].tobytes(), "number": i}


def write(folder, examples, **shards):
    shards = records.Shards(num_bytes=4000, **shards)
    return records.write(folder, records.Info("faces", FEATURES), {"train": examples}, shards)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_interrupted_conversion_resumes_and_leaves_the_same_bytes_as_on_a_disk(bucket, tmp_path, file_format):
    with pytest.raises(KeyboardInterrupt):  # after the samples: example 22 is none of them
        write(OUT, Examples(40, fails_at=22), file_format=file_format)
    finished = {name: bucket.objects[name] for name in bucket.names() if ".json" not in name and ".index" not in name}
    assert 0 < len(finished) < 10
    with pytest.raises(UserError, match=f"{OUT} holds no data set"):
        records.open_split(OUT, "train")
    with pytest.raises(UserError, match=f"{OUT} holds other files or another unfinished conversion"):
        write(OUT, Examples(41), file_format=file_format)

    write(OUT, Examples(40), file_format=file_format)
    assert {name: bucket.objects[name] for name in finished} == finished  # not written again
    write(tmp_path / "faces", Examples(40), file_format=file_format)
    visible = [name for name in bucket.names() if "/." not in name]
    assert max(visible, key=lambda name: bucket.objects[name][1]) == "sets/faces/dataset_info.json"  # written last
    local = {path.name: path.read_bytes() for path in (tmp_path / "faces").iterdir()}
    remote = {name.rpartition("/")[2]: bucket.content(name) for name in bucket.names()}
    indices = {name for name in remote if name.endswith(".index")}
    assert {name: content for name, content in remote.items() if name not in indices} == local
    assert len(indices) == (len(local) - 2 if file_format == "tfrecord" else 0)
    with pytest.raises(UserError, match=f"{OUT} exists already"):
        write(OUT, Examples(40), file_format=file_format)

    source = pickle.loads(pickle.dumps(records.open_split(OUT, "train")))  # as workers get it
    on_disk = records.open_split(tmp_path / "faces", "train")
    assert len(source) == 40
    assert [source[i] for i in (39, 0, 17)] == [on_disk[i] for i in (39, 0, 17)]


def test_stream_in_a_bucket(bucket):
    write(OUT, (Examples(40)[i] for i in range(40)))
    source = records.open_split(OUT, "train")
    assert [source[i]["number"] for i in range(40)] == list(range(40))
    assert not [name for name in bucket.names() if "/.train" in name]


def test_opening_reads_the_index_and_not_the_shards(bucket):
    write(OUT, Examples(40))
    bucket.requests.clear()
    source = records.open_split(OUT, "train")
    assert not [
        request
        for request in bucket.requests
        if "alt=media" in request and ".index" not in request and "tfrecord" in request
    ]
    source[5]
    (read,) = [
        request
        for request in bucket.requests
        if "alt=media" in request and "%2F." not in request and "tfrecord" in request
    ]
    assert "00001-of" in read


def test_damaged_record_in_a_bucket_is_named(bucket):
    write(OUT, Examples(40))
    (name,) = [name for name in bucket.names() if "00000-of" in name and not name.endswith(".index")]
    content = bytearray(bucket.content(name))
    content[100] ^= 1
    bucket.put(name, bytes(content), {})
    with pytest.raises(records.CorruptRecord, match=f"gs://bucket/{name}, record 0: checksum of the data"):
        records.open_split(OUT, "train")[0]


def test_what_is_there_stays(bucket):
    bucket.put("sets/faces/thesis.tex", b"...", {})
    with pytest.raises(UserError, match="holds other files"):
        write(OUT, Examples(4))
    assert bucket.names() == ["sets/faces/thesis.tex"]


def test_bucket_that_cannot_be_written(bucket):
    bucket.read_only = True
    with pytest.raises(UserError, match=f"cannot write {OUT}.*: Forbidden"):
        write(OUT, Examples(4))


def test_commands_write_into_a_bucket(bucket, tmp_path, capsys):
    for person in ("ada", "bob"):
        (tmp_path / "photos" / person).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(tmp_path / "photos" / person / f"{i}.png"), np.full((20, 20, 3), 40 * i, np.uint8))
    conversion.main(image_folder.DATASET, [f"--source={tmp_path / 'photos'}", f"--out={OUT}"])
    assert f"image_folder: {OUT}" in capsys.readouterr().out
    assert json.loads(bucket.content("sets/faces/conversion.json"))["splits"]["train"]["records"] == 6
    browse.main([OUT, "--out=gs://bucket/page.html"])
    assert b"train: 6 records" in bucket.content("page.html")
    with pytest.raises(SystemExit):
        conversion.main(image_folder.DATASET, ["--source=gs://bucket/photos", "--out=gs://bucket/other"])
    assert "--source=gs://bucket/photos: sources are read from a local disk" in capsys.readouterr().err


def test_run_in_a_bucket(bucket, monkeypatch, quick_compilation):
    """In one test: each start of a run takes a while."""
    tiny_experiment.shorten_networks(monkeypatch)  # `get_config` does so for good; here it is undone
    tiny_experiment.write_records("gs://bucket/records")
    config = tiny_experiment.get_config("fra,gs://bucket/records")
    config.epochs, config.optimizer.warmup_epochs, config.profile_steps = 2, 1, (2, 2)
    compiled = []

    def compile_once(*args):
        compiled.append(compiled[0] if compiled else compile_step(*args))
        return compiled[-1]

    def stop_at_step_4(step, *rest):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return progress_line(step, *rest)

    compile_step, progress_line = train.compile_step, reporting.progress_line
    monkeypatch.setattr(train, "compile_step", compile_once)
    monkeypatch.setattr(reporting, "progress_line", stop_at_step_4)
    with pytest.raises(SystemExit):
        train.train(config, "gs://bucket/runs/fra")
    assert "runs/fra/checkpoints/4/commit_success.txt" in bucket.names()
    assert "runs/fra/results.json" not in bucket.names()
    results = train.train(config, "gs://bucket/runs/fra")

    assert len(compiled) == 2
    assert results["trained"].keys() == {"identity/pooled/knn_accuracy"}
    encoder = facejax.load("gs://bucket/runs/fra/encoder")
    assert (encoder.card["metrics"], encoder.kinds) == (results["trained"], ("pooled",))
    assert json.loads(bucket.content("runs/fra/results.json")) == results
    for step in (0, 6):
        picture = bucket.content(f"runs/fra/pictures/step_{step:08d}_fra.png")
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).std() > 10
        assert json.loads(bucket.content(f"runs/fra/evaluations/step_{step:08d}.json"))
    boards = [bucket.content(name) for name in bucket.names("runs/fra/tensorboard/")]
    assert [board.count(b"embedding_spread") for board in boards] == [4, 2]  # steps before and after
    assert any(name.endswith(".xplane.pb") for name in bucket.names("runs/fra/profile/"))
    with pytest.raises(UserError, match=r"gs://bucket/runs/fra/checkpoints/6.*it is a run of another kind"):
        pretrained.landmark_network("gs://bucket/runs/fra")
