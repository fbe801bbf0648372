"""The table of an evaluation: columns, intervals, and what it says in words."""

import io

import numpy as np
import pytest
from PIL import Image

from facejax.evaluation import bootstrap, chart, table
from facejax.evaluation.protocols.protocol import Curve
from facejax.evaluation.statistics import mean
from facejax.evaluation.table import Judged, TaskResult

UNITS = 400


def column(shares, curve=None):
    """A column whose metrics are means of values that are 1 for the first share of the units."""
    found = {name: mean(np.arange(UNITS) < share * UNITS) for name, share in shares.items()}
    drawn = bootstrap.sample(found, np.arange(UNITS), number=300, seed=0)
    estimates = {name: bootstrap.estimate(one, UNITS, drawn[name]) for name, one in found.items()}
    return Judged(estimates, drawn, curve)


def result(metric, **shares):
    floors = [name for name in shares if name.startswith("floor")]
    columns = {name: column({metric: share}) for name, share in shares.items()}
    return TaskResult("faces", "knn", f"{UNITS} images", columns, floors, [metric])


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (dict(a=0.9, floor1=0.5, floor2=0.6), "a beats floor2, the best floor, by 0.300"),
        (dict(a=0.5, floor1=0.5, floor2=0.8), "a loses to floor2, the best floor, by 0.300"),
        (dict(a=0.5025, floor=0.5), "a differs from floor within the error"),
        (dict(a=0.9, b=0.5, floor=0.5), "b differs from floor within the error; a is better than b"),
        (dict(a=0.9, b=0.9, floor=0.5), "a and b differ within the error"),
    ],
)
def test_in_words(shares, words):
    assert words in table.in_words(result("accuracy", **shares), "accuracy")


def test_less_of_an_error_is_better():
    found = result("mae", a=0.5, floor=0.9)
    assert "a beats floor, the best floor, by 0.40" in table.in_words(found, "mae")
    assert table.difference(found, "mae", "a", "floor").value == pytest.approx(0.4)
    assert "mae (lower is better)" in table.format_table([found], 300)


def test_columns_are_compared_draw_by_draw():
    """Two columns that are wrong on the same images differ for sure, although their intervals overlap."""
    found = result("accuracy", a=0.52, floor=0.5)
    one, other = (found.columns[name].estimates["accuracy"] for name in ("a", "floor"))
    assert one.low < other.high and not table.difference(found, "accuracy", "a", "floor").within_error


def test_table_is_aligned_and_says_what_is_not_defined():
    found = result("accuracy", a=0.75, floor=0.5)
    found.columns["a"].estimates["f1"] = bootstrap.Estimate(float("nan"), float("nan"), float("nan"))
    title, *lines, words, gap, explanation = table.format_table([found], 300).splitlines()
    assert title == "faces: knn, 400 images" and not gap and "300 times" in explanation
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split()[:2] == ["accuracy", "0.750"] and lines[3].split() == ["f1", "-", "-"]
    assert words.startswith("accuracy: a beats floor")
    numbers = table.as_json(found)["metrics"]
    assert numbers["f1"]["columns"]["a"] == {"value": None, "low": None, "high": None}
    assert numbers["accuracy"]["columns"]["a"]["value"] == 0.75


def test_picture():
    curve = Curve(np.array([0.01, 1.0]), np.array([0.5, 1.0]), ("FAR", "TAR"), log_x=True)
    found = result("accuracy", a=0.75, floor=0.5)
    found.columns["a"] = found.columns["a"]._replace(curve=curve)
    with Image.open(io.BytesIO(chart.draw(found))) as picture:
        assert picture.format == "PNG" and picture.width > picture.height
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
