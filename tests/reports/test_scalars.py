"""Numbers out of TensorBoard's files, of runs that went on, were killed, or still write."""

import numpy as np
import pytest
from random_inputs import generator

from facejax.reporting import Reporter
from facejax.reports import scalars


def log(workdir, first_step, values):
    reporter = Reporter(workdir, first_step)
    for step, value in values.items():
        reporter.scalars(step, {"total": value, "rate": 2 * value})
    reporter.picture(first_step, "faces", np.zeros((2, 2, 3), np.uint8))
    reporter.close()


def test_values_are_those_that_were_logged(tmp_path):
    values = dict(zip(range(10, 60, 10), generator().normal(size=5), strict=True))
    log(tmp_path, 0, values)
    curves = scalars.read(tmp_path / "tensorboard")
    assert curves.keys() == {"total", "rate"}
    assert curves["total"].steps.tolist() == list(values)
    np.testing.assert_allclose(curves["total"].values, list(values.values()), rtol=1e-6)
    np.testing.assert_allclose(curves["rate"].values, 2 * np.array(list(values.values())), rtol=1e-6)
    assert (np.diff(curves["total"].times) >= 0).all() and curves["total"].times[0] > 1e9
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1  # and no index


def test_what_a_killed_run_logged_beyond_its_checkpoint_is_replaced(tmp_path, monkeypatch):
    log(tmp_path, 0, {10: 1.0, 20: 2.0, 30: 3.0})
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.rename(first.with_name("events.out.tfevents.1.host"))
    log(tmp_path, 20, {25: 2.5})
    curve = scalars.read(tmp_path / "tensorboard")["total"]
    assert dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True)) == {10: 1.0, 20: 2.0, 25: 2.5}


@pytest.mark.parametrize("cut", [1, 20])
def test_file_that_ends_in_the_middle_of_an_event(tmp_path, cut):
    log(tmp_path, 0, {10: 1.0, 20: 2.0})
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b"faces") - cut])
    assert scalars.read(tmp_path / "tensorboard")["total"].values.tolist() == [1.0, 2.0]


def test_no_files(tmp_path):
    assert scalars.read(tmp_path / "tensorboard") == {}
