"""Each script of examples/ runs, on a tiny encoder and a few photos."""

import pathlib
import re
import runpy
import sys

import cv2
import numpy as np
import pytest
import tiny_experiment

import facejax
from facejax import export
from facejax.encoder import Encoder
from facejax.preprocessing import Preprocessing

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SIZE = 16
pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`encoder`; `photos` of two classes that differ in brightness; `me.png`, the third of the bright ones."""
    folder, rng = tmp_path_factory.mktemp("examples"), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        encoder = Encoder.random("resnet", {"backbone": "resnet18", "width": 8}, Preprocessing(SIZE))
        encoder.save(folder / "encoder")
        for name, low in (("bright", 160), ("dark", 0)):
            (folder / "photos" / name).mkdir(parents=True)
            for number in range(6):
                image = rng.integers(low, low + 90, (20, 24, 3), np.uint8)
                cv2.imwrite(str(folder / "photos" / name / f"{number}.png"), image)
        cv2.imwrite(str(folder / "me.png"), cv2.imread(str(folder / "photos" / "bright" / "2.png"))[:, ::-1])
        yield folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """`run(name, *arguments)` runs an example and returns what it prints; arguments are in the folder."""

    def run(name, *arguments):
        script = str(ROOT / "examples" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [script, *(str(folder / argument) for argument in arguments)])
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    return run


def losses_of(printed):
    return [float(value) for value in re.findall(r"loss (\S+)", printed)]


def test_features_in_scikit_learn(run):
    assert "accuracy: 1.000 on 12 photos of 2 classes" in run("features_in_scikit_learn", "encoder", "photos")


@pytest.mark.parametrize("name", ["losses_in_linen", "losses_in_nnx"])
def test_losses(run, name):
    values = losses_of(run(name))
    assert len(values) == 6 and values[-1] < 0.7 * values[0]


def test_fine_tune(run):
    values = losses_of(run("fine_tune", "encoder", "photos"))
    assert values[0] == pytest.approx(np.log(2), abs=1e-4) and values[-1] < 0.5


def test_search_photos(run):
    """The query is the mirror image of a photo, which is nearest: features are of both."""
    lines = run("search_photos", "encoder", "photos", "me.png").splitlines()
    assert len(lines) == 5 and lines[0].startswith("1.000") and lines[0].endswith("bright/2.png")
    assert float(lines[4].split()[0]) < 1


def test_load_in_pytorch(folder, run, monkeypatch):
    for package in ("torch", "torchvision"):
        pytest.importorskip(package, reason=f"needs {package}, which facejax does not")
    monkeypatch.undo()  # torchvision has whole networks only
    encoder = Encoder.random("resnet", {"backbone": "resnet18", "output_stride": 16}, Preprocessing(SIZE))
    encoder.save(folder / "whole")
    export.main([str(folder / "whole"), "--format=safetensors", f"--out={folder / 'out'}", "--license=other"])
    shape, *numbers = run("load_in_pytorch", "out", "me.png").split(": ")
    assert shape == "(1, 512)"
    wanted = facejax.load(folder / "whole").embed([folder / "me.png"])[0, :4]
    np.testing.assert_allclose(eval(numbers[0], {}), wanted, rtol=1e-2)  # Pillow's box filter is not OpenCV's


def test_every_example_is_listed_and_runs():
    listed = re.findall(r"\]\((\w+)\.py\)", (ROOT / "examples" / "README.md").read_text())
    tested = pathlib.Path(__file__).read_text()
    for path in EXAMPLES:
        assert path.stem in listed and f'"{path.stem}"' in tested
    assert len(listed) == len(EXAMPLES)
