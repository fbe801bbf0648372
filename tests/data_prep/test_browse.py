"""The page of a data set: every sample with its labels, points and boxes where they belong, counts of classes."""

import base64
import json
import re

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from lookalikes import jpeg, pixels, png

from data_prep import browse
from facejax.data import images, records

FEATURES = {
    "image": tfds.features.Image(),
    "mood": tfds.features.ClassLabel(names=["glad", "<sad>"]),
    "name": tfds.features.Text(),
    "pose": tfds.features.Tensor(shape=(3,), dtype=np.float32),
    "landmarks": tfds.features.Tensor(shape=(2, 2), dtype=np.float32),
    "visibility": tfds.features.Tensor(shape=(2,), dtype=np.uint8),
    "face_box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
    "parts": tfds.features.Sequence(tfds.features.BBoxFeature()),
    "regions": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
}


def example(i):
    return {
        "image": jpeg(i, 32, 24),
        "mood": i % 3 // 2,
        "name": f"Zoë <{i}>",
        "pose": [1.5, -20, 0],
        "landmarks": [[6, 8], [18, 8]],
        "visibility": [1, 0],
        "face_box": [3, 4, 21, 28],
        "parts": [tfds.features.BBox(ymin=0.75, xmin=0.25, ymax=0.875, xmax=0.75)],
        "regions": png(np.arange(12, dtype=np.uint8).reshape(4, 3) % 4),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browse") / "faces & co"
    records.write(
        folder, records.Info("faces", FEATURES), {s: [example(i) for i in range(6)] for s in ("train", "test")}
    )
    return folder


def test_points_and_boxes_are_drawn_where_they_are(folder):
    source = records.open_split(folder, "train")
    drawn = browse.draw(source[0], source.features)
    assert drawn.shape == (192, 144, 3)
    plain = cv2.resize(images.decode(jpeg(0, 32, 24)), (144, 192), interpolation=cv2.INTER_CUBIC)
    assert tuple(drawn[48, 36]) == (90, 255, 120)  # 6, 8 of 24 x 32 pixels, six times as large
    assert tuple(drawn[48, 108]) == (255, 70, 70)  # the hidden one
    for x, y in ((18, 100), (126, 100), (72, 24), (72, 168), (72, 144), (36, 156)):
        assert tuple(drawn[y, x]) == (255, 210, 0), (x, y)
    np.testing.assert_array_equal(drawn[60:140, 40:100], plain[60:140, 40:100])


def test_page(folder, tmp_path):
    out = tmp_path / "page.html"
    browse.main([str(folder), f"--out={out}", "--samples=4"])
    page = out.read_text()
    assert "<h1>faces &amp; co</h1>" in page and "train: 6 records" in page and "test: 6 records" in page
    assert page.count("<figure>") == 8 and "<sad>" not in page
    assert page.count("<td>glad<td>4<td>") == 2 and page.count("<td>&lt;sad&gt;<td>2<td>") == 2
    assert "Zoë &lt;" in page and "pose: 1.5, -20, 0" in page
    shown = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", page)]
    assert len(shown) == 16  # image and mask of each
    assert {images.decode(data).shape for data in shown[::2]} == {(192, 144, 3)}
    mask = images.decode(shown[1])
    assert len(np.unique(mask.reshape(-1, 3), axis=0)) == 4


def test_picture(folder, tmp_path):
    out = tmp_path / "sheet.png"
    browse.main([str(folder), f"--out={out}", "--samples=5", "--split=test"])
    sheet = images.decode(out.read_bytes())
    assert sheet.shape[1] == 5 * (144 + 4) + 4 and 200 < sheet.shape[0] < 400
    again = tmp_path / "again.png"
    browse.main([str(folder), f"--out={again}", "--samples=5", "--split=test"])
    assert again.read_bytes() == out.read_bytes()


def test_records_without_points_or_labels(tmp_path):
    records.write(
        tmp_path / "bare",
        records.Info("bare", {"image": tfds.features.Image()}),
        {"train": [{"image": png(pixels(0, 400, 10))}]},
    )
    browse.browse(tmp_path / "bare", tmp_path / "bare.png")
    browse.browse(tmp_path / "bare", tmp_path / "bare.html")


def test_errors_are_one_line(folder, tmp_path, capsys):
    (tmp_path / "there.html").write_text("")
    for options, message in (
        ([str(tmp_path / "no")], "no data set at"),
        ([str(folder), f"--out={tmp_path}/there.html"], "exists already"),
        ([str(folder), f"--out={tmp_path}/page.pdf"], "must end in .html or .png"),
        ([str(folder), f"--out={tmp_path}/x.png", "--samples=0"], "at least 1"),
        ([str(folder), f"--out={tmp_path}/x.png", "--split=dev"], "has no split 'dev'"),
    ):
        with pytest.raises(SystemExit) as stopped:
            browse.main(options)
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and message in error and error.count("\n") == 1


def test_damaged_records_are_left_out_and_listed(tmp_path, caplog):
    rows = [example(i) for i in range(5)]
    rows[1]["image"] = b"no image"
    rows[2]["regions"] = b""
    records.write(tmp_path / "faces", records.Info("faces", FEATURES), {"train": rows})
    (shard,) = (tmp_path / "faces").glob("*.tfrecord*")
    content = bytearray(shard.read_bytes())
    content[content.index(rows[4]["image"]) + 50] ^= 1
    shard.write_bytes(content)
    browse.main([str(tmp_path / "faces"), f"--out={tmp_path / 'page.html'}"])
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == 2 and page.count("<td>glad<td>3<td>") == 1  # of four that can be read
    for place, reason in (
        (1, "not an image"),
        (2, "the field &#x27;regions&#x27;"),
        (4, "checksum of the data"),
    ):
        assert f"{shard.name}, record {place}: " in page and reason in page
    browse.main([str(tmp_path / "faces"), f"--out={tmp_path / 'sheet.png'}"])
    assert images.decode((tmp_path / "sheet.png").read_bytes()).shape[1] > 2 * 144
    assert caplog.text.count("left out: ") == 6


def test_labels_that_are_no_class_are_counted_apart(tmp_path):
    numbers = {"image": tfds.features.Image(), "mood": tfds.features.Scalar(np.int64)}
    rows = [{"image": png(pixels(0)), "mood": mood} for mood in (0, 1, 1, -1, 7)]
    records.write(tmp_path / "faces", records.Info("faces", numbers), {"train": rows})
    path = tmp_path / "faces" / "features.json"
    content = json.loads(path.read_text())
    content["featuresDict"]["features"]["mood"] = {
        "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "2"},
    }
    path.write_text(json.dumps(content))
    source = records.open_split(tmp_path / "faces", "train")
    assert browse.class_counts(source, 0) == ({"mood": {"0": 1, "1": 2, "no class": 2}}, 5)
    browse.browse(tmp_path / "faces", tmp_path / "page.html")
