"""An encoder: out of every method's workdir, to a folder and back, and what it makes of images."""

import dataclasses
import json
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_experiment
from flax import traverse_util
from random_inputs import generator, random_like

import facejax
from facejax import checkpoints, embedding, methods, reporting
from facejax.architectures import ARCHITECTURES
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.files import write_json
from facejax.preprocessing import Preprocessing

SIZE = 16


@pytest.fixture(autouse=True)
def short(monkeypatch, quick_compilation):
    tiny_experiment.shorten_networks(monkeypatch)


class Position:
    """Stands for a data iterator."""

    def get_state(self):
        return {"num_batches": 0}


def begin_run(workdir, name, steps=(3,)):
    """A workdir with checkpoints of random arrays; the method, and the newest state."""
    config = getattr(tiny_experiment, name)()
    config.image_size = SIZE
    reporting.claim_workdir(workdir, config)
    method = methods.create(config, steps_per_epoch=1, total_steps=config.epochs)
    shapes = jax.eval_shape(method.init, jax.eval_shape(lambda: jax.random.key(0)), {})
    run = checkpoints.Checkpoints(workdir)
    for step in steps:
        state = random_like(shapes)
        run.save(step, state, Position())
    run.close()
    return method, state


def assert_same(found, wanted):
    found, wanted = (traverse_util.flatten_dict(dict(tree), sep="/") for tree in (found, wanted))
    assert found.keys() <= wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_workdir_of_every_method(name, tmp_path):
    method, state = begin_run(tmp_path, name, steps=(3, 4))
    write_json(tmp_path / "evaluations" / "step_00000004.json", {"identity/knn_accuracy": 0.5})
    encoder = facejax.load(tmp_path)
    assert_same(encoder.variables, method.eval_variables(state))
    assert (encoder.architecture, encoder.preprocessing) == (method.architecture, method.preprocessing)
    names = traverse_util.flatten_dict(encoder.variables, sep="/").keys()
    if name != "finetune":  # whose head is what it was trained for
        assert not any(part in path for path in names for part in ("predictor", "projection", "head", "classifier"))
    assert (encoder.card["method"], encoder.card["steps"]) == (name, 4)
    assert encoder.card["metrics"] == {"identity/knn_accuracy": 0.5}
    kinds = {"pcl": ("trunk", "face", "pose"), "simclr": ("trunk", "face"), "supervised": ("embedding", "landmarks")}
    kinds |= {"finetune": ("features", "logits"), "alignment": ("landmarks",)}
    assert encoder.kinds == kinds.get(name, ("embedding",) if name == "lafs" else ("pooled",))


def test_folder_of_a_run_is_read_if_it_is_as_new_as_the_checkpoint(tmp_path, monkeypatch):
    begin_run(tmp_path, "byol")
    encoder = facejax.load(tmp_path)
    encoder.save(tmp_path / "encoder")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "read_arrays", lambda *_: pytest.fail("the checkpoint was read"))
        assert_same(facejax.load(tmp_path).variables, encoder.variables)
    dataclasses.replace(encoder, card={**encoder.card, "steps": 2}).save(tmp_path / "encoder", replace=True)
    assert facejax.load(tmp_path).card["steps"] == 3
    assert facejax.load(tmp_path / "encoder").card["steps"] == 2


def test_best_state_has_the_config_of_its_run(tmp_path):
    begin_run(tmp_path, "byol")
    (tmp_path / "best").mkdir()
    (tmp_path / "checkpoints").rename(tmp_path / "best" / "checkpoints")
    assert facejax.load(tmp_path / "best").card["steps"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["model"].update(width=8), r"does not fit its network: .*backbone/\S+: found \(.*4.*8"),
        (lambda config: config.update(method="far"), "config.json was not written by .*unknown method"),
        (lambda config: config.pop("optimizer"), "config.json was not written by .*config.optimizer is missing"),
        (lambda config: config.update(method="lafs"), "config.json was not written by"),
    ],
)
def test_config_that_is_not_of_the_checkpoint(tmp_path, change, message):
    begin_run(tmp_path, "byol")
    config = json.loads((tmp_path / "config.json").read_text())
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        facejax.load(tmp_path)


def test_sources_that_are_no_encoder(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*nothing: name"):
        facejax.load(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"neither a config\.json nor a facejax\.json"):
        facejax.load(tmp_path)
    (tmp_path / "config.json").write_text("[[")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        facejax.load(tmp_path)
    (tmp_path / "config.json").write_text('{"method": "byol"}')
    with pytest.raises(UserError, match="has no complete checkpoint"):
        facejax.load(tmp_path)


# --- On disk

SETTINGS = {
    "fra": {"backbone": "resnet18", "width": 4, "embedding_dim": 6, "hidden_dim": 8, "num_regions": 3},
    "lewel": {"backbone": "resnet18", "width": 4, "embedding_dim": 8, "hidden_dim": 8, "num_heads": 2},
    "part_fvit": {"size": "nano", "num_points": 4},
    "pcl": {"width": 4, "decoder_size": 8},
    "resnet": {"backbone": "resnet18", "width": 4},
    "vit": {"patch_size": 8, "grid": 2, "width": 64, "depth": 1, "mlp_width": 8},
    "classifier": {"encoder": PooledResNet("resnet18", 4), "num_classes": 3},
    "deconvolutions": {"encoder": PooledResNet("resnet18", 4, 8), "points": "300w", "width": 4},
    "star": {"points": "300w", "width": 4, "num_stacks": 1, "num_levels": 1, "stem_width": 4},
}
NORMALIZED = Preprocessing(SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def encoders():
    """One of each architecture, random."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        built = {}
        for name, settings in SETTINGS.items():
            architecture = ARCHITECTURES[name](**settings)
            built[name] = Encoder.create(architecture, random_like(architecture.shapes(SIZE)), NORMALIZED, {"steps": 7})
        return built


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_saved_and_loaded(encoders, name, tmp_path):
    encoder = encoders[name]
    encoder.save(tmp_path / "a" / "b")
    found = facejax.load(tmp_path / "a" / "b")
    assert_same(encoder.variables, found.variables)
    assert_same(found.variables, encoder.variables)
    assert (found.architecture, found.preprocessing) == (encoder.architecture, encoder.preprocessing)
    assert found.card == {"steps": 7, "source": str(tmp_path / "a" / "b")}
    assert found.compiled("encode") is encoder.compiled("encode")


def test_nothing_is_overwritten_silently(encoders, tmp_path):
    encoders["resnet"].save(tmp_path)
    with pytest.raises(UserError, match=r"facejax\.json exists already: choose another folder"):
        encoders["pcl"].save(tmp_path)
    encoders["pcl"].save(tmp_path, replace=True)
    assert facejax.load(tmp_path).kinds == ("trunk", "face", "pose")


def edited(change):
    """Edits the description, and makes its digest fit."""

    def edit(folder):
        from facejax import encoder_folder

        file = folder / "facejax.json"
        content = json.loads(file.read_text())
        content.pop("digest")
        change(content)
        file.write_text(json.dumps(content | {"digest": encoder_folder.digest_of(content)}))

    return edit


def flip_a_bit(folder):
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(data)


DAMAGES = {
    "a bit of the weights": (flip_a_bit, r"weights\.safetensors is not what facejax\.json .* was written with"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), r"weights\.safetensors cannot be read"),
    "no JSON": (lambda folder: (folder / "facejax.json").write_text("{"), r"facejax\.json is damaged"),
    "deep JSON": (lambda folder: (folder / "facejax.json").write_text("[" * 10**5), r"facejax\.json is damaged"),
    "another file": (lambda folder: (folder / "facejax.json").write_text("[1]"), r"facejax\.json is damaged or not of"),
    "an edited number": (
        lambda folder: (folder / "facejax.json").write_text(
            (folder / "facejax.json").read_text().replace('"steps": 7', '"steps": 8')
        ),
        "was edited: its digest differs",
    ),
    "a newer format": (edited(lambda content: content.update(format=99)), "newer facejax"),
    "an unknown architecture": (
        edited(lambda content: content.update(architecture="vgg")),
        r"unknown architecture 'vgg'; there are: .*resnet",
    ),
    "another network": (edited(lambda content: content["config"].update(width=8)), "does not fit its network"),
    "a width that is text": (edited(lambda content: content["config"].update(width="4")), r"config\.width: .*integer"),
    "an unknown setting": (edited(lambda content: content["config"].update(run="x")), r"config\.run: Unexpected"),
    "a gigantic image": (
        edited(lambda content: content["preprocessing"].update(size=10**9)),
        r"preprocessing\.size: .*less than or equal to 4096",
    ),
    "a zero deviation": (
        edited(lambda content: content["preprocessing"].update(std=[1, 1, 0])),
        r"preprocessing\.std\.2: .*greater than 0",
    ),
    # From jax 0.12 on, a network of width 0 can be made.
    "a width of 0": (edited(lambda content: content["config"].update(width=0)), "no network|does not fit"),
    "a width below 0": (edited(lambda content: content["config"].update(width=-4)), "no network of these settings"),
    "a width of exabytes": (edited(lambda content: content["config"].update(width=10**18)), "no network|does not fit"),
    "no card": (edited(lambda content: content.pop("card")), "has no card"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_wrong_with_a_folder(encoders, tmp_path, damage, message):
    encoders["resnet"].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        facejax.load(tmp_path)


# --- Features


def photos(count):
    rng = generator()
    return [rng.integers(0, 256, (*rng.integers(10, 60, 2), 3), np.uint8) for _ in range(count)]


def squared(image):
    return NORMALIZED.fit_to_square(image)


def test_any_size_and_number(encoders, tmp_path):
    """Paths and arrays, more than a batch of them, alone and together; flipped; and nothing is compiled twice."""
    encoder = encoders["resnet"]
    images = photos(embedding.BATCH + 3)
    paths = []
    for index, image in enumerate(images[:3]):
        paths.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image[:, :, ::-1])
    together = encoder.embed([*paths, *images[3:]])
    squares = np.stack([squared(image) for image in images])
    wanted = np.asarray(jax.jit(encoder.apply)(encoder.variables, squares)["pooled"])
    assert together.shape == (embedding.BATCH + 3, encoder.dimensions["pooled"]) and together.dtype == np.float32
    np.testing.assert_allclose(together, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(encoder.embed(squares), together)
    compiled = encoder.compiled("encode")._cache_size()
    np.testing.assert_allclose(encoder.embed(images[:40]), wanted[:40], rtol=1e-4, atol=1e-5)  # padded to 64
    assert encoder.compiled("encode")._cache_size() == compiled
    both = wanted[:40] + encoder.embed(squares[:40, :, ::-1])
    np.testing.assert_allclose(encoder.embed(images[:40], flip=True), both, rtol=1e-4, atol=1e-5)
    assert encoder.embed([]).shape == (0, together.shape[1])


def test_kinds(encoders):
    encoder, images = encoders["pcl"], photos(2)
    wanted = encoder.apply(encoder.variables, np.stack([squared(image) for image in images]))
    assert encoder.kinds == ("trunk", "face", "pose") and encoder.dimensions == dict.fromkeys(encoder.kinds, 8)
    np.testing.assert_allclose(encoder.embed(images), wanted["trunk"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(encoder.embed(images, "pose"), wanted["pose"], rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match="no features 'mood': this encoder has trunk, face, pose"):
        encoder.embed(images, kind="mood")


def test_images_that_cannot_be_read(encoders, tmp_path):
    encoder, good = encoders["resnet"], photos(1)[0]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    for images, message in (
        ([good, tmp_path / "broken.jpg"], r"broken\.jpg: "),
        ([good, tmp_path / "missing.jpg"], r"missing\.jpg: No such file"),
        ([good, good / 255], r"image 1: expected an image uint8 \[H, W, 3\], got float64"),
        ([good[:, :, 0]], r"image 0: .*uint8 \["),
        (str(tmp_path), "images are a list of paths"),
        (good, r"images as an array are uint8 \[N, H, W, 3\], not uint8"),
    ):
        with pytest.raises(UserError, match=message):
            encoder.embed(images)


def test_unreadable_ones_are_named_and_left_out(encoders, tmp_path):
    encoder, images, told = encoders["resnet"], photos(5), {}
    sources = [images[0], tmp_path / "a.png", images[1], images[2], tmp_path / "b.png"]
    found = list(embedding.parts(encoder, sources, unreadable=told.setdefault))
    assert list(told) == [1, 4] and "No such file" in told[1]
    assert np.concatenate([part.positions for part in found]).tolist() == [0, 2, 3]
    rows = np.concatenate([part.features["pooled"] for part in found])
    assert len(rows) == 3
    np.testing.assert_allclose(rows, encoder.embed(images[:3]), rtol=1e-4, atol=1e-5)


def test_several_faces_of_an_image(encoders):
    """Positions say of which image each row is, across batches."""
    encoder, image = encoders["resnet"], photos(1)[0]
    counts = [40, 0, 60, 1]
    sources = [np.full((4, 4, 3), count, np.uint8) for count in counts]
    parts = embedding.parts(encoder, sources, faces=lambda source: [squared(image)] * int(source[0, 0, 0]))
    positions = np.concatenate([part.positions for part in parts])
    assert positions.tolist() == [0] * 40 + [2] * 60 + [3]


EIGHT_DEVICES = """
import sys, jax, numpy as np, facejax
import tiny_experiment, pytest
tiny_experiment.shorten_networks(pytest.MonkeyPatch())
assert jax.device_count() == 8
encoder = facejax.load(sys.argv[1])
seen, compiled = [], encoder.compiled("encode")
watched = lambda variables, batch: seen.append(batch.sharding) or compiled(variables, batch)
type(encoder).compiled = lambda self, what: watched
np.save(sys.argv[2], encoder.embed(np.load(sys.argv[3])))
assert {len(sharding.device_set) for sharding in seen} == {8} and not any(s.is_fully_replicated for s in seen)
"""


def test_all_devices_are_used(encoders, tmp_path, pytestconfig):
    encoder = encoders["resnet"]
    encoder.save(tmp_path / "encoder")
    images = np.stack([squared(image) for image in photos(19)])
    np.save(tmp_path / "images.npy", images)
    root = pytestconfig.rootpath
    environment = {
        "PATH": "",
        "PYTHONPATH": f"{root}:{root / 'tests'}",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    files = [str(tmp_path / name) for name in ("encoder", "features.npy", "images.npy")]
    process = subprocess.run([sys.executable, "-c", EIGHT_DEVICES, *files], env=environment, capture_output=True)
    assert process.returncode == 0, process.stderr.decode()
    np.testing.assert_allclose(np.load(files[1]), encoder.embed(images), rtol=1e-4, atol=1e-5)


# --- A look inside


def test_heatmaps_and_pictures_of_fra(encoders):
    encoder, images = encoders["fra"], photos(3)
    heatmaps = encoder.heatmaps(images)
    assert heatmaps.shape[::3] == (3, 3) and heatmaps.dtype == np.float32
    np.testing.assert_allclose(heatmaps.sum(-1), 1, rtol=1e-5)
    pictures = encoder.pictures(images)
    assert {name: picture.shape for name, picture in pictures.items()} == dict.fromkeys(
        encoder.captions, (3, SIZE, SIZE, 3)
    )
    with pytest.raises(UserError, match=r"has no landmarks"):
        encoder.landmarks(images)


def test_landmarks(encoders):
    encoder, images = encoders["part_fvit"], photos(3)
    points = encoder.landmarks(images)
    assert points.shape == (3, 4, 2) and points.min() == 0 and points.max() == pytest.approx(SIZE - 1, abs=1e-4)
    with pytest.raises(UserError, match=r"has no reconstruct"):
        encoder.reconstruct(images)
    on_a_grid = dataclasses.replace(encoder, architecture=ARCHITECTURES["part_fvit"](size="nano", has_landmarks=False))
    with pytest.raises(UserError, match=r"has no landmarks"):
        on_a_grid.landmarks(images)


def test_reconstructions(encoders):
    """Of pictures and of `reconstruct` the same, own poses and others'."""
    encoder, images = encoders["pcl"], photos(2)
    drawn = encoder.reconstruct(images)
    assert drawn.shape == (2, 8, 8, 3) and drawn.dtype == np.uint8
    swapped = encoder.reconstruct(images, images[::-1])
    rows = np.split(encoder.pictures(images)["pose_swaps"], 7, axis=2)
    np.testing.assert_array_equal(rows[1], np.stack([squared(image) for image in images[::-1]]))
    larger = np.asarray(jax.image.resize(jnp.asarray(swapped, jnp.float32), rows[2].shape, "bilinear"))
    unclipped = (swapped > 0).all((1, 2, 3)) & (swapped < 255).all((1, 2, 3))
    np.testing.assert_allclose(rows[2][unclipped], larger[unclipped], atol=1.5)
    assert np.abs(drawn.astype(int) - swapped).max() > 0
    with pytest.raises(UserError, match="2 images cannot be drawn in 1 poses"):
        encoder.reconstruct(images, images[:1])


def test_the_package_is_imported_in_no_time():
    code = "import facejax, sys; assert not {'jax', 'numpy', 'flax'} & sys.modules.keys(), 'heavy'; facejax.losses.byol"
    assert "load" in dir(facejax) and facejax.Encoder is Encoder
    subprocess.run([sys.executable, "-c", code], check=True)


def test_preprocessing_is_checked():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Preprocessing(0)


@pytest.mark.parametrize(("height", "width"), [(52, 30), (12, 20), (16, 16), (8, 40)])
def test_crop_is_that_of_torchvision(height, width):
    """Resize(round(16 / 0.8)), CenterCrop(16), written down by hand."""
    from PIL import Image

    image = generator().integers(0, 256, (height, width, 3), np.uint8)
    found = Preprocessing(16, fit="crop", crop_fraction=0.8, interpolation="bicubic").fit_to_square(image)
    if (height, width) == (16, 16):  # a square of this side is taken to be fitted already
        np.testing.assert_array_equal(found, image)
        return
    size = (20, int(20 * height / width)) if width <= height else (int(20 * width / height), 20)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - 16) / 2), round((size[1] - 16) / 2)
    np.testing.assert_array_equal(found, np.asarray(resized.crop((left, top, left + 16, top + 16))))


@pytest.mark.parametrize("settings", [{}, {"fit": "crop", "crop_fraction": 0.6}, {"fit": "crop"}])
def test_points_of_a_square_are_found_in_the_image(settings):
    preprocessing = Preprocessing(16, interpolation="bilinear", **settings)
    for height, width in ((48, 48), (40, 64), (16, 16), (90, 31)):
        row, column = np.mgrid[:height, :width]
        for value, axis in ((column, 0), (row, 1)):
            image = np.repeat(value[..., None], 3, 2).astype(np.uint8)
            points = generator().uniform(4, 11, (1, 5, 2)).round()
            found = preprocessing.locate(points, np.array([[height, width]]))[0, :, axis]
            square = preprocessing.fit_to_square(image)
            shown = [square[int(y), int(x), 0] for x, y in points[0]]
            np.testing.assert_allclose(found, shown, atol=1.0)  # a ramp is its own coordinate, rounded


def test_normalization():
    squares = generator().integers(0, 256, (2, 4, 4, 3), np.uint8)
    x = squares.astype(np.float64)
    caffe = Preprocessing(4, value_range=(0.0, 255.0), mean=(91.5, 103.9, 131.1), channel_order="bgr")
    np.testing.assert_allclose(caffe.normalize(squares), x[..., ::-1] - [91.5, 103.9, 131.1], atol=1e-4)
    half = Preprocessing(4, value_range=(-1.0, 1.0), std=(2.0, 2.0, 2.0))
    np.testing.assert_allclose(half.normalize(squares), (x / 127.5 - 1) / 2, atol=1e-6)
    np.testing.assert_allclose(NORMALIZED.normalize(squares), (x / 255 - NORMALIZED.mean) / NORMALIZED.std, atol=1e-5)
