"""`python -m facejax.embed` on a folder of photos, of which some are broken and some have no face or several."""

import subprocess
import sys

import cv2
import fake_mtcnn
import numpy as np
import pytest
import tiny_experiment
from pyarrow import parquet
from random_inputs import generator

import facejax
from facejax import embed
from facejax.data import align, images
from facejax.encoder import Encoder
from facejax.preprocessing import Preprocessing

SIZE = 16


@pytest.fixture(autouse=True)
def short(monkeypatch, quick_compilation):
    tiny_experiment.shorten_networks(monkeypatch)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Path of one, in a folder."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        Encoder.random("pcl", {"width": 4, "decoder_size": 0}, Preprocessing(SIZE)).save(folder)
    return str(folder)


def write(folder, name, image):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return image


@pytest.fixture
def photos(tmp_path):
    """Three sound ones, in formats and sizes of their own, and two that are not."""
    rng, folder = generator(), tmp_path / "photos"
    sizes = {"ann/1.png": (20, 30), "bob/deep/2.bmp": (50, 41), "3.PNG": (16, 16)}
    sound = {name: write(folder, name, rng.integers(0, 256, (*size, 3), np.uint8)) for name, size in sizes.items()}
    (folder / "ann" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "empty.webp").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    write(folder, ".hidden/4.png", sound["3.PNG"])
    return folder, sound


def command(*arguments):
    embed.main([str(argument) for argument in arguments])


def failure(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        command(*arguments)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("embed: ")]
    return line


def test_features_of_what_can_be_read(encoder, photos, tmp_path, caplog, capsys):
    folder, sound = photos
    command(encoder, folder, f"--out={tmp_path / 'x.npz'}")
    with np.load(tmp_path / "x.npz") as file:
        assert set(file.files) == {"paths", "labels", "features", "kind"}
        assert file["paths"].tolist() == ["3.PNG", "ann/1.png", "bob/deep/2.bmp"] and file["kind"] == "trunk"
        assert file["labels"].tolist() == ["", "ann", "bob"]
        features = file["features"]
    wanted = facejax.load(encoder).embed([sound[name] for name in ("3.PNG", "ann/1.png", "bob/deep/2.bmp")])
    np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-6)
    assert "Skipped 2 images that cannot be read" in caplog.text
    assert "ann/broken.jpg: " in caplog.text and "empty.webp: " in caplog.text
    assert "trunk 3 x 8, of 5 images at " in capsys.readouterr().out


def test_parquet_another_kind_and_mirror_images(encoder, photos, tmp_path):
    folder, sound = photos
    command(encoder, folder / "ann", f"--out={tmp_path / 'x.parquet'}", "--kind=face", "--flip")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["path", "features"] and table.schema.metadata == {b"kind": b"face"}
    assert table["path"].to_pylist() == ["1.png"]
    wanted = facejax.load(encoder).embed([sound["ann/1.png"]], "face", flip=True)
    np.testing.assert_allclose(np.array(table["features"].to_pylist()), wanted, rtol=1e-4, atol=1e-6)


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """Photos with no face, one and two; the package that finds them is a fake."""
    fake_mtcnn.install(tmp_path / "packages", monkeypatch)
    folder = tmp_path / "faces"
    boxes = {"none.png": [], "one.png": [(30, 20, 40, 50)], "two.png": [(10, 10, 30, 30), (60, 40, 50, 60)]}
    drawn = {}
    for name, places in boxes.items():
        image = generator().integers(0, 120, (120, 140, 3), np.uint8)
        for x, y, width, height in places:
            image[y : y + height, x : x + width] = fake_mtcnn.COLOUR
        drawn[name] = write(folder, name, image)
    return folder, boxes, drawn


def test_all_faces_by_name_the_largest_first(encoder, faces, tmp_path, caplog):
    folder, boxes, drawn = faces
    command(encoder, folder, f"--out={tmp_path / 'x.npz'}", "--align", "--faces=all")
    with np.load(tmp_path / "x.npz") as file:
        assert file["paths"].tolist() == ["one.png", "two.png", "two.png"]
        found, features = file["box"], file["features"]
    ordered = [*boxes["one.png"], *sorted(boxes["two.png"], key=lambda box: -box[2] * box[3])]
    np.testing.assert_array_equal(found, [(x, y, x + width, y + height) for x, y, width, height in ordered])
    assert "Skipped 1 images without a face that was found" in caplog.text and "none.png" in caplog.text
    points = [
        [(int(x + u * width) + 0.5, int(y + v * height) + 0.5) for u, v in fake_mtcnn.PLACES.values()]
        for x, y, width, height in ordered
    ]
    names = ("one.png", "two.png", "two.png")
    squares = [
        align.warp_smoothly(drawn[name], align.onto_template(face, SIZE), SIZE)
        for name, face in zip(names, points, strict=True)
    ]
    np.testing.assert_allclose(features, facejax.load(encoder).embed(squares), rtol=1e-4, atol=1e-6)


def test_loosened_crops_of_the_largest_face(encoder, faces, tmp_path):
    folder, _, drawn = faces
    command(encoder, folder, f"--out={tmp_path / 'x.npz'}", "--crop=1")
    with np.load(tmp_path / "x.npz") as file:
        assert file["paths"].tolist() == ["one.png", "two.png"]
        square = images.squash(drawn["two.png"][40:100, 55:115], SIZE)  # 60 px around the middle of 50 x 60
        np.testing.assert_allclose(file["features"][1:], facejax.load(encoder).embed([square]), rtol=1e-4, atol=1e-6)


def test_neighbours_are_printed_and_drawn(encoder, photos, tmp_path, capsys):
    folder, sound = photos
    command(encoder, folder, f"--out={tmp_path / 'x.npz'}", f"--neighbours={folder / '3.PNG'}")
    features = facejax.load(encoder).embed([sound[name] for name in ("3.PNG", "ann/1.png", "bob/deep/2.bmp")])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = dict(zip(("ann/1.png", "bob/deep/2.bmp"), unit[1:] @ unit[0], strict=True))
    nearest = sorted(cosines, key=lambda name: -cosines[name])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [name for _, name in printed] == nearest
    np.testing.assert_allclose([float(cosine) for cosine, _ in printed], [cosines[n] for n in nearest], atol=6e-4)
    drawn = cv2.imread(str(tmp_path / "x.neighbours.png"))
    assert drawn.shape[0] > 2 * 96 and drawn.shape[1] > 2 * 96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ENCODER", "FOLDER", "--out=x.csv"), r"x.csv: name a file that ends in .npz or .parquet"),
        (("ENCODER", "FOLDER", "--out=taken.npz"), r"taken.npz exists already"),
        (("ENCODER", "nothing", "--out=x.npz"), r"there is no folder"),
        (("ENCODER", "ENCODER", "--out=x.npz"), r"there are no images in"),
        (("nothing", "FOLDER", "--out=x.npz"), r"there is no"),
        (
            ("ENCODER", "FOLDER", "--out=x.npz", "--kind=mood"),
            r"no features 'mood': this encoder has trunk, face, pose",
        ),
        (("ENCODER", "FOLDER", "--out=x.npz", "--neighbours=me.jpg"), r"--neighbours=me.jpg: there is no such file"),
        (("ENCODER", "FOLDER", "--out=x.npz", "--crop=9"), r"--crop=9: must be 1"),
        (("ENCODER", "FOLDER", "--out=x.npz", "--faces=all"), r"--faces also needs --align or --crop"),
        (("ENCODER", "FOLDER"), r"required: --out; python -m facejax.embed --help shows an example"),
        (("ENCODER", "FOLDER", "--out=x.npz", "--sharp"), r"unrecognized arguments: --sharp"),
    ],
)
def test_what_is_wrong_is_one_line(encoder, photos, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.npz").write_text("mine")
    places = {"ENCODER": encoder, "FOLDER": str(photos[0])}
    assert message in failure(capsys, *(places.get(argument, argument) for argument in arguments))
    assert (tmp_path / "taken.npz").read_text() == "mine" and not (tmp_path / "x.npz").exists()


def test_a_folder_in_which_nothing_can_be_read(encoder, photos, tmp_path, capsys):
    for path in photos[0].rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert "none of its 5 images could be embedded" in failure(
        capsys, encoder, photos[0], f"--out={tmp_path / 'x.npz'}"
    )


def test_help_shows_an_example_first_without_waiting_for_jax():
    code = (
        "import sys; from facejax import embed\ntry: embed.main(['--help'])\nfinally: assert 'jax' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0 and not process.stderr
    example, flags = (process.stdout.index(text) for text in ("python -m facejax.embed workdirs/demo", "--out FILE  "))
    assert example < flags
