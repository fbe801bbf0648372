import itertools
import json
import types

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from facejax import reporting
from facejax.data import tfrecord
from facejax.errors import UserError
from facejax.files import write_json


def config(**changes):
    values = {"method": "fra", "batch_size": 8, "log_every_steps": 5, "data": {"folder": "a", "num_workers": 0}}
    return ml_collections.ConfigDict(values | changes)


def test_workdir_keeps_config_and_versions(tmp_path):
    reporting.claim_workdir(tmp_path / "run", config())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch_size"] == 8
    assert json.loads((tmp_path / "run" / "versions.json").read_text())["jax"]


def test_the_same_run_may_go_on_with_other_logging_and_workers(tmp_path):
    reporting.claim_workdir(tmp_path, config())
    reporting.claim_workdir(tmp_path, config(log_every_steps=50, data={"folder": "a", "num_workers": 4}))
    assert json.loads((tmp_path / "config.json").read_text())["log_every_steps"] == 50


def save_a_checkpoint(workdir):
    (workdir / "checkpoints" / "100").mkdir(parents=True)


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path):
    reporting.claim_workdir(tmp_path, config())
    save_a_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"another config's run: batch_size was 8, is 16; data.folder was 'a', is 'b'"):
        reporting.claim_workdir(tmp_path, config(batch_size=16, data={"folder": "b", "num_workers": 0}))
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 8


def test_a_run_without_a_checkpoint_is_replaced(tmp_path, caplog):
    reporting.claim_workdir(tmp_path, config())
    (tmp_path / "checkpoints").mkdir()
    for left in ("evaluations/step_00000000.json", "notes.txt"):
        write_json(tmp_path / left, {"identity/knn_accuracy": 0.5})
    with caplog.at_level("INFO"):
        reporting.claim_workdir(tmp_path, config(batch_size=16))
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 16
    assert not (tmp_path / "evaluations").exists()  # what the other config's encoder was worth
    assert (tmp_path / "notes.txt").exists()
    assert "held another config's run without a checkpoint (batch_size was 8, is 16): replacing it" in caplog.text


def test_a_run_that_starts_again_keeps_its_evaluations(tmp_path):
    reporting.claim_workdir(tmp_path, config())
    write_json(tmp_path / "evaluations" / "step_00000000.json", {})
    reporting.claim_workdir(tmp_path, config())
    assert (tmp_path / "evaluations" / "step_00000000.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"method": "fra", "batch_', r"config\.json is damaged \(Unterminated string"),
        ("", r"config\.json is damaged"),
        ("\x00" * 20, r"config\.json is damaged"),
        ("[" * 100_000, r"config\.json is (damaged|not the config)"),
        ("[1, 2]", r"config\.json is not the config of a run of facejax"),
        ('{"architectures": ["ViTModel"]}', r"config\.json is not the config of a run of facejax"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_config_that_is_damaged_or_foreign(tmp_path, content, message, begun):
    (tmp_path / "config.json").write_text(content)
    if begun:
        save_a_checkpoint(tmp_path)
    with pytest.raises(UserError, match=message):
        reporting.claim_workdir(tmp_path, config())
    assert (tmp_path / "config.json").read_text() == content


def test_checkpoints_without_a_config_are_refused(tmp_path):
    save_a_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"no config\.json"):
        reporting.claim_workdir(tmp_path, config())


def test_progress_counts_what_was_done_and_what_was_waited_for(monkeypatch):
    now, written = [100.0], {}
    monkeypatch.setattr(reporting.time, "perf_counter", lambda: now[0])
    reporter = types.SimpleNamespace(scalars=lambda step, values: written.update({step: values}))
    log = reporting.StepLog(reporter, range(20, 100), 32, every=20)

    def wait(seconds):
        now[0] += seconds

    with log.waiting_for_data():
        wait(2.5)
    wait(1.5)
    log.step(30, {"total": jnp.float32(3.0)})  # not due
    assert not written
    wait(1.0)
    with log.paused():
        wait(60.0)
    log.step(40, {"total": jnp.float32(2.0)}, skipped_records=3)
    rates = {"images_per_second": 128.0, "seconds_per_step": 0.25, "waiting_for_data": 0.5, "seconds_left": 15.0}
    assert written.pop(40) == {"total": 2.0, **rates, "skipped_records": 3}
    wait(reporting.INTERVAL + 1)
    log.step(41, {"total": jnp.float32(2.0)})  # a line to the log, since there was none for a while
    wait(2.0)
    log.step(100, {"total": jnp.float32(1.0)})  # the last
    assert list(written) == [100] and written[100]["seconds_per_step"] == 2.0 / 59


@pytest.mark.parametrize(("seconds", "text"), [(59.6, "0:01:00"), (3661, "1:01:01"), (90061, "1d 1:01:01")])
def test_duration(seconds, text):
    assert reporting.duration(seconds) == text


def test_tensorboard_files_hold_scalars_and_pictures(tmp_path):
    reporter = reporting.Reporter(tmp_path, first_step=0)
    reporter.scalars(7, {"loss": 0.25})
    reporter.picture(7, "faces", np.full((4, 6, 3), 200, np.uint8))
    reporter.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    boundaries, fault = tfrecord.index(file)
    assert not fault
    content = tfrecord.RandomAccessFile(file)
    spans = itertools.pairwise(boundaries)
    events = [event_pb2.Event.FromString(tfrecord.read_record(content, *span, "event")) for span in spans]
    values = {value.tag: (event.step, value) for event in events for value in event.summary.value}
    assert values["loss"][0] == 7
    assert values["loss"][1].simple_value == 0.25
    assert (values["faces"][1].image.width, values["faces"][1].image.height) == (6, 4)
    assert (tmp_path / "pictures" / "step_00000007_faces.png").exists()


def test_parameters_are_listed_with_their_number(tmp_path):
    reporter = reporting.Reporter(tmp_path, first_step=0)
    reporter.parameters({"dense": {"kernel": jnp.ones((30, 40)), "bias": jnp.ones(5, jnp.bfloat16)}})
    reporter.close()
    assert [line.split() for line in (tmp_path / "parameters.txt").read_text().splitlines()] == [
        ["parameter", "shape", "type", "size"],
        ["dense/bias", "5", "bfloat16", "5"],
        ["dense/kernel", "30x40", "float32", "1,200"],
        ["total", "1,205"],
    ]


def test_step_lines():
    rates = {"images_per_second": 310.2, "seconds_left": 131.0, "waiting_for_data": 0.25}
    assert reporting.progress_line(120, 800, 4.1034, rates) == (
        "step 120/800 (15%)  loss 4.103  310 images/s  ETA 0:02:11"
    )
    assert reporting.metrics_line(120, {"total": 4.1034, "base": 3.0} | rates) == (
        "step 120: base 3  images_per_second 310.2  seconds_left 131  total 4.103  waiting_for_data 0.25"
    )
