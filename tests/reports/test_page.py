"""A report's page: its numbers, what it says is missing, and that nothing of what it read becomes a part of it."""

import base64
import hashlib
import json

import numpy as np
import pytest
import tiny_runs
from etils import epath
from tensorboardX.proto import event_pb2
from tiny_runs import EVIL, STEPS, Page

import facejax
from facejax import report
from facejax.data import tfrecord
from facejax.errors import UserError
from facejax.evaluation import comparison
from facejax.files import write_json
from facejax.reports import faces, similarity

pytestmark = pytest.mark.usefixtures("quick_compilation", "short_networks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Faces, and runs of two methods next to them."""
    folder = tmp_path_factory.mktemp("report")
    tiny_runs.write_faces(folder / "faces")
    return folder


@pytest.fixture(scope="module")
def results(folder, quick_compilation, short_networks):
    return {method: tiny_runs.write_run(folder / method, method, folder / "faces") for method in ("fra", "pcl")}


@pytest.fixture(scope="module")
def page(folder, results):
    """The page of one run."""
    return Page(report.write([folder / "fra"]).read_text())


@pytest.fixture(scope="module")
def compared(folder, results):
    """The page of two runs."""
    return Page(report.write([folder / "fra", folder / "pcl"], folder / "both.html").read_text())


def named(page):
    return {f"{group}/{name}": values for group, name, values in page.rows if values}


def test_table_has_the_numbers_of_results_json(page, results):
    wanted = {
        row.metric: [row.untrained, row.trained, row.gain]
        for row in comparison.compare(results["fra"]["untrained"], results["fra"]["trained"])
    }
    assert named(page) == wanted
    row = next(iter(wanted.values()))
    assert all(f"{value:.4f}" in page.text for value in row[:2])


def test_two_runs_stand_side_by_side(compared, results):
    found = named(compared)
    for position, result in enumerate(results.values()):
        for metric in result["trained"]:
            values = found[metric][3 * position :][:3]
            assert values[:2] == [result["untrained"][metric], result["trained"][metric]]
    best = [a for t, a in compared.elements if t == "td" and "best" in a.get("class", "")]
    assert len(best) == len(found)  # one of both runs in each row
    assert "what differs" in compared.text
    assert len(compared.data["maps"]) == 2
    assert set(compared.data["curves"]) == {"total", "images_per_second"}


def test_page_shows_pictures_settings_and_speed(page):
    images = [a["src"] for t, a in page.elements if t == "img" and a.get("class") == "sheet"]
    assert len(images) == 2 and all(src.startswith("data:image/webp;base64,") for src in images)  # first and last
    assert all(text in page.text for text in ("untrained", f"step {STEPS}", "epochs", "jax", "70 images a second"))
    assert "evaluations.pose.label" in page.text
    assert not page.missing


def test_map_has_every_face_and_label(page, folder):
    labels = page.data["labels"]
    assert list(labels) == ["identity", "expression", "pose yaw", "pose pitch", "pose roll"]
    assert labels["identity"] == {"values": [i // 3 for i in range(12)], "categories": ["0", "1", "2", "3"]}
    assert len(page.data["thumbnails"]) == 12
    neighbours = [a for t, a in page.elements if t == "img" and a.get("alt", "").startswith("neighbour")]
    assert len(neighbours) == 6 * 6


def test_features_are_those_of_the_encoder(folder, results):
    looked_at = faces.read(str(folder / "faces"), "test", {})
    encoder = facejax.load(folder / "fra" / "encoder")
    pixels = [faces.records.read_with_image(looked_at.source, i)[1] for i in looked_at.indices]
    np.testing.assert_allclose(looked_at.embed(encoder)["pooled"], encoder.embed(pixels), rtol=1e-5, atol=1e-6)


def test_nothing_is_fetched_and_only_the_scripts_of_the_page_run(compared):
    for tag, attributes in compared.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if name in attributes:
                assert attributes[name].startswith("data:"), (tag, attributes)
    directives = dict(part.strip().split(" ", 1) for part in compared.policy.split(";"))
    assert (directives["default-src"], directives["img-src"]) == ("'none'", "data:")
    assert (directives["base-uri"], directives["form-action"]) == ("'none'", "'none'")
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in compared.scripts[1:]
    ]
    assert directives["script-src"] == " ".join(hashes) and len(hashes) == 2
    assert not {"connect-src", "font-src", "frame-src"} & directives.keys()  # default-src stands for them


def test_what_was_read_stays_text(folder, tmp_path):
    workdir = tmp_path / "run <img src=y onerror=window.hacked=3>"
    tiny_runs.write_run(workdir, "fra", folder / "faces", ended=False)
    write_json(workdir / "config.json", {"method": EVIL, EVIL: EVIL, "list": [EVIL]})
    write_json(workdir / "versions.json", {"devices": {EVIL: 1}, "facejax": EVIL, EVIL: EVIL})
    write_json(workdir / "evaluations" / "step_00000020.json", {f"{EVIL}/{EVIL}": 0.5})
    (workdir / "parameters.txt").write_text(EVIL)
    (workdir / "pictures" / f"step_00000010_{EVIL.replace('/', '')}.png").write_bytes(b"no picture")
    evil_tag = EVIL.rpartition("/")[2]  # what has a slash is a metric
    value = event_pb2.Event(step=1, summary={"value": [{"tag": evil_tag, "simple_value": 1.0}]})
    (workdir / "tensorboard" / "events.out.tfevents.9.host").write_bytes(tfrecord.frame(value.SerializeToString()))
    page = Page(report.write([workdir]).read_text())
    assert len(page.scripts) == 3
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert page.text.count("window.hacked=1") >= 6
    assert evil_tag in page.data["curves"] and evil_tag in [a.get("data-curve") for _, a in page.elements]


def test_run_that_has_not_ended(folder, tmp_path):
    results = tiny_runs.write_run(tmp_path / "run", "fra", folder / "faces", ended=False)
    page = Page(report.write([tmp_path / "run"]).read_text())
    assert {metric: values[1] for metric, values in named(page).items()} == results["trained"]  # of step 20
    assert page.missing[0] == "there is no results.json: the run has not ended"
    assert any(line.startswith("no encoder, and with it no neighbours and no map") for line in page.missing)
    assert f"{STEPS} so far" in page.text


def test_damaged_files_and_missing_ones(tmp_path, folder):
    tiny_runs.write_run(tmp_path / "run", "fra", folder / "faces", ended=False)
    for name in ("config.json", "versions.json", "results.json", "pictures/step_00000000_fra.png"):
        (tmp_path / "run" / name).write_text('{"half": ')
    (tmp_path / "run" / "evaluations" / "step_00000000.json").write_text("[]")
    for file in (tmp_path / "run" / "tensorboard").iterdir():
        file.unlink()
    said = "\n".join(Page(report.write([tmp_path / "run"]).read_text()).missing)
    for line in (
        "config.json is damaged", "versions.json is damaged", "results.json is damaged", "step_00000000_fra.png: ",
        "evaluations/step_00000000.json is damaged", "tensorboard/ has no numbers", "no encoder",
    ):  # fmt: skip
        assert line in said


def test_photos_without_labels(tmp_path):
    tiny_runs.write_faces(tmp_path / "photos", labelled=False)
    workdir = tmp_path / "run"
    tiny_runs.write_run(workdir, "fra", tmp_path / "photos", evaluations={})
    for file in (*(workdir / "evaluations").iterdir(), workdir / "results.json"):
        file.unlink()
    write_json(workdir / "results.json", {"method": "fra", "steps": STEPS, "untrained": {}, "trained": {}})
    page = Page(report.write([workdir]).read_text())
    assert "Nothing was evaluated" in page.text
    assert page.data["labels"] == {} and len(page.data["maps"]) == 1
    assert not page.missing


def test_faces_that_are_gone_and_others_in_their_place(folder, results, tmp_path):
    config = json.loads((folder / "fra" / "config.json").read_text())
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("results.json", "versions.json"):
        (moved / name).write_bytes((folder / "fra" / name).read_bytes())
    (moved / "encoder").symlink_to(folder / "fra" / "encoder")
    config["evaluations"]["pose"]["data"] = str(tmp_path / "gone")
    write_json(moved / "config.json", config)
    page = Page(report.write([moved]).read_text())
    assert any("no data set at" in line and "--faces=DIR" in line for line in page.missing)
    assert page.data["maps"] == [None]
    page = Page(report.write([moved], faces=str(folder / "faces")).read_text())
    assert len(page.data["thumbnails"]) == 12
    with pytest.raises(UserError, match="no data set at"):
        report.write([moved], faces=str(tmp_path / "gone"))


def test_folders_that_are_no_workdirs(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*nowhere: name the workdir of a run"):
        report.write([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"is not the workdir of a run: it has no config\.json"):
        report.write([tmp_path])
    write_json(tmp_path / "config.json", {"architectures": ["ViT"]})
    with pytest.raises(UserError, match=r"its config\.json names no method"):
        report.write([tmp_path])


def test_another_file_is_not_replaced_and_a_report_is(folder, results, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("<html>my own")
    with pytest.raises(UserError, match=r"page\.html exists and is no report"):
        report.write([folder / "fra"], out)
    assert out.read_text() == "<html>my own"
    out.unlink()
    report.write([folder / "fra"], out)
    before = out.stat().st_mtime_ns
    report.write([folder / "fra"], out)
    assert out.stat().st_mtime_ns > before


def test_runs_with_the_same_name_are_told_apart(folder, results, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "fra").symlink_to(folder / "pcl")
    linked = tmp_path / "again" / "fra"
    linked.mkdir(parents=True)
    write_json(linked / "config.json", {"method": "fra"})
    page = Page(report.write([folder / "fra", linked], tmp_path / "two.html").read_text())
    assert f"{folder.name}/fra" in page.text and "again/fra" in page.text


def test_workdir_in_a_bucket(bucket, folder, results):
    target = epath.Path("gs://bucket/run")
    for path in (folder / "fra").rglob("*"):
        if path.is_file() and path.name != "report.html":
            (target / path.relative_to(folder / "fra")).write_bytes(path.read_bytes())
    out = report.write(["gs://bucket/run"])
    assert str(out) == "gs://bucket/run/report.html"
    page = Page(out.read_text())
    assert set(page.data["curves"]) == {"total", "images_per_second"} and not page.missing


def test_records_that_cannot_be_read_are_passed_over(tmp_path):
    tiny_runs.write_faces(tmp_path / "faces")
    (file,) = tmp_path.glob("faces/*.tfrecord-*")
    boundaries, _ = tfrecord.index(file)
    content = bytearray(file.read_bytes())
    content[boundaries[3] + 40] ^= 1
    file.write_bytes(content)
    assert list(faces.read(str(tmp_path / "faces"), "test", {}).indices) == [i for i in range(12) if i != 3]


def test_features_that_are_not_finite_leave_a_line(folder, results, monkeypatch):
    monkeypatch.setattr(faces.Faces, "embed", lambda self, encoder: {"pooled": np.full((12, 4), np.nan)})
    page = Page(report.write([folder / "fra"], folder / "nan.html").read_text())
    assert page.missing == ["neighbours and map: its features are not finite"]
    assert similarity.cosines(np.eye(2)).shape == (2, 2)


def test_run_that_ends_goes_on_without_a_report(tmp_path, caplog):
    with caplog.at_level("WARNING"):
        report.write_after_run(tmp_path / "nowhere")
    assert "There is no report: there is no" in caplog.text
