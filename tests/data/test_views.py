"""Whole views: what is drawn and how often, on whom it depends, and on how many devices it runs."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from facejax.data import crops, photometry, views

SIZE = 16
EVERYTHING = {
    "size": SIZE,
    "crop_scale": (0.2, 1.0),
    "jitter_probability": 0.8,
    "grey_probability": 0.2,
    "blur_probability": 0.5,
    "solarize_probability": 0.2,
    "gradient_probability": 0.1,
    "mean": (0.5, 0.4, 0.3),
    "std": (0.25, 0.2, 0.2),
}


@pytest.fixture(scope="module")
def faces():
    """uint8 [6, 24, 24, 3], of which parts are valid."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 24, 24, 3), dtype=np.uint8), rng.integers(16, 25, (6, 2)).astype(np.int32)


@pytest.fixture(scope="module")
def make_everything():
    return jax.jit(lambda key, images, sizes: views.make_view(key, images, sizes, views.View(**EVERYTHING)))


def test_same_key_same_view_other_key_other_view(faces, make_everything):
    view = make_everything(jax.random.key(0), *faces)
    assert view.shape == (6, SIZE, SIZE, 3) and view.dtype == np.float32
    np.testing.assert_array_equal(view, make_everything(jax.random.key(0), *faces))
    other = make_everything(jax.random.key(1), *faces)
    assert (np.abs(view - other).mean((1, 2, 3)) > 0.05).all()


def test_a_view_does_not_depend_on_the_rest_of_the_batch(faces, make_everything):
    images, sizes = faces
    view = make_everything(jax.random.key(3), images, sizes)
    others = images.copy()
    others[4:] = 255 - others[4:]
    changed = make_everything(jax.random.key(3), others, np.concatenate([sizes[:4], sizes[4:] - 5]))
    np.testing.assert_array_equal(view[:4], changed[:4])
    assert (np.abs(view - changed)[4:].mean((1, 2, 3)) > 0.05).all()
    fewer = make_everything(jax.random.key(3), images[:4], sizes[:4])
    np.testing.assert_allclose(view[:4], fewer, atol=1e-5)


def test_equal_images_get_views_of_their_own(faces, make_everything):
    images, sizes = (np.repeat(array[:1], 6, axis=0) for array in faces)
    view = np.asarray(make_everything(jax.random.key(4), images, sizes))
    for i in range(6):
        for j in range(i):
            assert np.abs(view[i] - view[j]).mean() > 0.05


def test_without_probabilities_a_view_is_the_resized_image(faces):
    images, sizes = faces
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.2)
    ours = views.make_view(jax.random.key(0), images, sizes, views.View(size=SIZE, flip=0.0, mean=mean, std=std))
    expected = photometry.normalize(crops.resize(images, sizes, size=SIZE), mean, std)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    ours = views.make_view(jax.random.key(0), images, sizes, views.View(size=SIZE, flip=1.0))
    np.testing.assert_allclose(ours, crops.resize(images, sizes, size=SIZE)[:, :, ::-1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("jitter", None),
        ("grey", photometry.grey),
        ("blur", lambda image: photometry.gaussian_blur(image, np.full(len(image), 1.5), taps=11)),
        ("solarize", photometry.solarize),
        ("gradient", photometry.gradient_magnitude),
    ],
)
def test_each_distortion_comes_as_often_as_asked_for(name, changed):
    count, probability = 600, 0.3
    images = np.random.default_rng(2).random((count, 8, 8, 3), dtype=np.float32)
    settings = {"blur_radius": (1.5, 1.5), "jitter": (0.0, 0.0, 0.5, 0.0), f"{name}_probability": probability}
    ours = np.asarray(jax.jit(lambda key: views.distort(key, images, views.Distortion(**settings)))(jax.random.key(7)))
    untouched = np.abs(ours - images).max((1, 2, 3)) < 1e-6
    if changed is not None:
        np.testing.assert_allclose(ours[~untouched], np.asarray(changed(images))[~untouched], atol=1e-5)
    # Four standard deviations of a share of 600.
    assert abs((~untouched).mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / count)


def test_blur_radius_and_flip_are_drawn_for_each_image():
    count = 400
    images = np.zeros((count, 25, 25, 3), np.uint8)
    images[:, 12, 8] = 255
    sizes = np.full((count, 2), 25)
    settings = {"size": 25, "flip": 0.5, "blur_probability": 1.0, "blur_radius": (0.5, 2.0)}
    make = jax.jit(lambda key: views.make_view(key, images, sizes, views.View(**settings)))
    view = np.asarray(make(jax.random.key(1)))[..., 0]
    left, right = view[:, 12, 8], view[:, 12, 16]
    assert abs((right > left).mean() - 0.5) < 4 * 0.5 / np.sqrt(count)
    # The second moment of the blurred point is its variance, radius^2; the radius is uniform in [0.5, 2].
    radius = np.sqrt((view.sum(2) * (np.arange(25) - 12) ** 2).sum(1) / view.sum((1, 2)))
    share = np.sort((radius - 0.5) / 1.5)
    assert share[0] > -0.05 and share[-1] < 1.02
    assert np.abs(share - np.arange(count) / count).max() < 1.95 / np.sqrt(count)


def test_what_never_happens_is_not_compiled(faces):
    def operations(**settings):
        recipe = views.View(size=SIZE, **settings)
        return jax.jit(lambda *a: views.make_view(*a, recipe)).lower(jax.random.key(0), *faces).as_text()

    assert "stablehlo.case" in operations(jitter_probability=0.8)
    assert "stablehlo.case" not in operations(jitter_probability=0.0)


EIGHT_DEVICES = """
import sys, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from facejax.data import views

assert len(jax.devices()) == 8
data = np.load(sys.argv[1], allow_pickle=True)
split = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), P("data"))
images, sizes = (jax.device_put(data[name], split) for name in ("images", "sizes"))
make = jax.jit(lambda *a: views.make_view(*a, views.View(**data["settings"].item())), out_shardings=split)
make = make.lower(jax.random.key(11), images, sizes).compile()
for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
    assert collective not in make.as_text(), collective
np.save(sys.argv[2], make(jax.random.key(11), images, sizes))
"""


def test_eight_devices_make_the_same_views_without_talking(tmp_path):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (16, 24, 24, 3), dtype=np.uint8)
    sizes = rng.integers(16, 25, (16, 2)).astype(np.int32)
    np.savez(tmp_path / "in.npz", images=images, sizes=sizes, settings=np.array(EVERYTHING, dtype=object))
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES, tmp_path / "in.npz", tmp_path / "out.npy"], env=environment, check=True
    )
    expected = jax.jit(lambda *a: views.make_view(*a, views.View(**EVERYTHING)))(jax.random.key(11), images, sizes)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=2e-5)
