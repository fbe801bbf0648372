"""`python -m facejax.export`: what others run gives the features of the encoder it is from."""

import json
import re

import jax
import numpy as np
import pytest
import tiny_experiment
from flax import traverse_util
from huggingface_hub import ModelCard
from jax import export as jax_export
from random_inputs import generator
from safetensors.numpy import load_file

import facejax
from facejax import export, methods, model_card
from facejax.architectures import ARCHITECTURES, PooledResNet
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.export_formats import onnx
from facejax.interop import lafs
from facejax.models import mobilenet, resnet
from facejax.preprocessing import Preprocessing

SIZE = 32
SETTINGS = {
    "fra": ("fra", {"backbone": "resnet18", "width": 4, "embedding_dim": 6, "hidden_dim": 8, "num_regions": 3}),
    "lewel": ("lewel", {"backbone": "resnet18", "width": 4, "embedding_dim": 8, "hidden_dim": 8, "num_heads": 2}),
    "byol": ("resnet", {"backbone": "resnet50", "width": 4, "output_stride": 16, "dtype": "bfloat16"}),
    "lafs": ("part_fvit", {"size": "nano", "num_points": 4}),
    "supervised": ("part_fvit", {"size": "nano", "num_points": 4, "kinds": ("embedding", "landmarks")}),
    "dino_face": ("part_fvit", {"size": "nano", "num_points": 16, "has_landmarks": False}),
    "pcl": ("pcl", {"width": 4, "decoder_size": 8}),
    "simclr": ("pcl", {"width": 4, "decoder_size": 0, "branches": ("face",)}),
    "vit": ("vit", {"patch_size": 8, "grid": 4, "width": 64, "depth": 1, "mlp_width": 8}),
    "farl": (
        "vit",
        {"patch_size": 8, "grid": 4, "width": 64, "depth": 1, "mlp_width": 8, "variant": "clip", "projection_dim": 3},
    ),
}
# The others are cut short: official networks have all stages, both branches, 14 x 14 patches.
RECOGNISED = ("byol", "lafs", "supervised", "pcl", "vit", "farl")
CARD = {
    "steps": 7,
    "source": "/home/ann/workdirs/secret",
    "data": {"folder": "/home/ann/datasets/faces", "split": "train"},
    "training": {"evaluations": {"identity": {"data": "/home/ann/datasets/people", "label": "identity"}}, "seed": 0},
    "metrics": {"identity/pooled/top1_accuracy": 0.75, "identity/pooled/top1_accuracy_std_error": 0.01},
    "untrained_metrics": {"identity/pooled/top1_accuracy": 0.25},
}


def random_like(shapes):
    """Variances and scales, which are vectors, are positive."""
    rng = generator()
    return jax.tree.map(lambda x: rng.uniform(0.2 if x.ndim < 2 else -0.5, 0.5, x.shape).astype(x.dtype), shapes)


def build(name: str) -> Encoder:
    kind, settings = SETTINGS[name]
    architecture = ARCHITECTURES[kind](**settings)
    preprocessing = Preprocessing(SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    return Encoder.create(architecture, random_like(architecture.shapes(SIZE)), preprocessing, CARD | {"method": name})


@pytest.fixture(scope="module")
def exported(tmp_path_factory, quick_compilation):
    """`exported(name)`: the encoder as it is exported, and the folder with its safetensors and StableHLO."""
    built = {}
    with pytest.MonkeyPatch.context() as patch:
        tiny_experiment.shorten_networks(patch)
        patch.setitem(resnet.VARIANTS, "resnet50", (resnet.Bottleneck, (1, 1, 1, 1), 1))
        patch.setattr(lafs, "BLOCKS", mobilenet.BLOCKS)

        def one(name):
            if name not in built:
                folder, encoder = tmp_path_factory.mktemp(name), build(name)
                encoder.save(folder / "encoder")
                command(folder / "encoder", "--format=safetensors,stablehlo", f"--out={folder / 'out'}")
                built[name] = export.portable(encoder), folder / "out"
            return built[name]

        yield one


def command(*arguments, weights_license="--license=cc-by-nc-4.0"):
    export.main([str(argument) for argument in (*arguments, weights_license)])


def images(count=3):
    return generator().integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def assert_features(found, encoder, batch):
    wanted = encoder.compiled("encode")(encoder.variables, batch)
    assert found.keys() == set(encoder.kinds)
    for kind in encoder.kinds:
        scale = max(1.0, float(np.abs(wanted[kind]).max()))
        np.testing.assert_allclose(found[kind], wanted[kind], atol=1e-5 * scale, err_msg=kind)


def test_every_method_is_here():
    without_names_in_pytorch = {"alignment", "finetune"}, {"classifier", "deconvolutions", "star"}
    assert methods.METHODS.keys() - without_names_in_pytorch[0] <= SETTINGS.keys()
    assert {kind for kind, _ in SETTINGS.values()} == ARCHITECTURES.keys() - without_names_in_pytorch[1]


@pytest.mark.parametrize("name", SETTINGS)
def test_stablehlo(exported, name):
    encoder, folder = exported(name)
    function = jax_export.deserialize(bytearray((folder / "encoder.stablehlo").read_bytes()))
    assert function.platforms == ("cpu", "cuda", "tpu")
    batch = images()
    assert_features(function.call(batch), encoder, batch)


@pytest.mark.parametrize("name", SETTINGS)
def test_safetensors(exported, name):
    """As an encoder, and as a file of other people's, which is recognised by its keys alone."""
    encoder, folder = exported(name)
    batch = images()
    found = facejax.load(folder)
    assert (found.architecture, found.preprocessing) == (encoder.architecture, encoder.preprocessing)
    assert_features(found.compiled("encode")(found.variables, batch), encoder, batch)
    if name not in RECOGNISED:
        return
    recognised = traverse_util.flatten_dict(facejax.load(folder / "weights.safetensors").variables, sep="/")
    for path, array in traverse_util.flatten_dict(encoder.variables, sep="/").items():
        np.testing.assert_array_equal(recognised[path], array, err_msg=path)


def test_a_batch_of_any_number(exported):
    encoder, folder = exported("pcl")
    function = jax_export.deserialize(bytearray((folder / "encoder.stablehlo").read_bytes()))
    (image,) = images(1)
    assert function.call(image[None])["trunk"].shape == (1, encoder.dimensions["trunk"])
    assert function.call(np.stack([image] * 5))["trunk"].shape == (5, encoder.dimensions["trunk"])


def test_names_are_torchvisions(exported):
    """Of torchvision's resnet50 with one block in each stage, less `fc` and counters."""
    _, folder = exported("byol")
    norm = ("weight", "bias", "running_mean", "running_var")
    found = load_file(folder / "weights.safetensors")
    block = {f"layer4.0.conv{i}.weight" for i in (1, 2, 3)} | {"layer4.0.downsample.0.weight"}
    block |= {f"layer4.0.{name}.{part}" for name in ("bn1", "bn2", "bn3", "downsample.1") for part in norm}
    assert {key for key in found if key.startswith("layer4.0.")} == block
    assert {key for key in found if not key.startswith("layer")} == {"conv1.weight", *(f"bn1.{part}" for part in norm)}
    assert found["conv1.weight"].shape == (4, 3, 7, 7) and found["layer4.0.conv3.weight"].shape == (128, 32, 1, 1)


def test_description(exported):
    encoder, folder = exported("fra")
    description = json.loads((folder / "facejax.json").read_text())
    assert (description["method"], description["architecture"], description["keys"]) == ("fra", "resnet", "torchvision")
    assert description["config"]["dtype"] == "float32" and isinstance(encoder.architecture, PooledResNet)
    assert set(description["files"]) == {"weights.safetensors", "encoder.stablehlo"}
    assert "/home/ann" not in (folder / "facejax.json").read_text() + (folder / "README.md").read_text()


def test_model_card(exported):
    _, folder = exported("fra")
    text = (folder / "README.md").read_text()
    data = ModelCard(text).data
    assert (data.license, data.library_name) == ("cc-by-nc-4.0", "facejax")
    assert {"fra", "self-supervised-learning"} <= set(data.tags)
    result = {result.metric_type: result for result in data.eval_results}["identity/pooled/top1_accuracy"]
    assert (result.metric_value, result.dataset_name, result.task_name) == (0.75, "people", "identity")
    assert "| `identity/pooled/top1_accuracy` | people | 0.25 | 0.75 |" in text
    for part in ("## Intended use and limits", "Trained on `faces`, split `train`", "for 7 steps", "encoder.stablehlo"):
        assert part in text


def test_model_card_of_what_is_not_known():
    encoder = Encoder.random("resnet", {"width": 4, "backbone": "resnet18"}, Preprocessing(SIZE))
    text = model_card.write(encoder, "other", ["usage"])
    assert "Not recorded." in text and "Not evaluated." in text and "model-index" not in text


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"backbone": "resnet50"}, []),
        ({"backbone": "resnet50", "output_stride": 16}, ["layer4[0].conv2", "layer4[0].downsample[0]"]),
        (
            {"backbone": "resnet18", "output_stride": 8},
            ["layer3[0].conv1", "layer3[0].downsample[0]", "layer4[0].conv1", "layer4[0].downsample[0]"],
        ),
    ],
)
def test_usage_in_torchvision(settings, lines):
    from facejax.export_formats import safetensors

    encoder = Encoder(PooledResNet(**settings), {}, Preprocessing(SIZE))
    usage = safetensors.usage(encoder)
    assert re.findall(r"network\.(\S+)\.stride = 1", usage) == lines
    assert f"torchvision.models.{settings['backbone']}()" in usage


# --- ONNX


@pytest.mark.parametrize("name", ["byol", "supervised", "dino_face", "pcl", "vit", "farl"])
def test_onnx(exported, name):
    pytest.importorskip("jax2onnx", reason="needs the extra `onnx`")
    runtime = pytest.importorskip("onnxruntime")
    encoder, _ = exported(name)
    session = runtime.InferenceSession(onnx.convert(encoder))
    names = [output.name for output in session.get_outputs()]
    for count in (1, 3):
        batch = images(count)
        assert_features(dict(zip(names, session.run(None, {"images": batch}), strict=True)), encoder, batch)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 2, 0), (2, 1, 1)])
def test_replacements_for_onnx_compute_the_same(kernel, stride, padding):
    """Pooling, padding and gathering as the converter gets them; the numbers are below 0 and above."""
    from flax import linen as nn

    rng = generator()
    x = rng.normal(size=(2, 9, 8, 3)).astype(np.float32)
    starts = rng.integers(0, 9, (2, 5, 2), np.int32)

    def run(x, starts):
        pooled = nn.max_pool(x, (kernel, kernel), (stride, stride), padding=[(padding, padding)] * 2)
        padded = jax.numpy.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), constant_values=0.5)

        def window(image, at):
            return jax.lax.dynamic_slice(image, (at[0], at[1], 0), (4, 2, 3))

        return pooled, padded, jax.vmap(jax.vmap(window, in_axes=(None, 0)))(padded, starts)

    traced = jax.make_jaxpr(run)(x, starts)
    for found, wanted in zip(onnx.evaluate(traced.jaxpr, traced.consts, x, starts), run(x, starts), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_wrong_conversion_is_found(exported, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    encoder, _ = exported("pcl")
    other = Encoder(encoder.architecture, jax.tree.map(lambda x: 1.01 * x, encoder.variables), encoder.preprocessing)
    pytest.importorskip("jax2onnx")
    model = onnx.convert(encoder)
    with pytest.raises(UserError, match=r"'trunk' differs by"):
        onnx.check_features(model, other)


# --- The command


def failure(capsys, *arguments, **options):
    with pytest.raises(SystemExit) as ended:
        command(*arguments, **options)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("export: ")]
    return line


def test_nothing_is_overwritten(exported, capsys):
    _, folder = exported("pcl")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    encoder = folder.parent / "encoder"
    assert "README.md exists already" in failure(capsys, encoder, "--format=onnx", f"--out={folder}")
    (folder / "README.md").unlink()
    assert "facejax.json exists already" in failure(capsys, encoder, "--format=safetensors", f"--out={folder}")
    (folder / "facejax.json").unlink()
    assert "encoder.stablehlo exists already" in failure(capsys, encoder, "--format=stablehlo", f"--out={folder}")
    for name, data in before.items():
        (folder / name).write_bytes(data)


def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    out = f"--out={tmp_path / 'out'}"
    assert "no format 'pickle'" in failure(capsys, tmp_path, "--format=safetensors,pickle", out)
    assert "--license" in failure(capsys, tmp_path, "--format=onnx", out, weights_license="")
    assert "is no identifier" in failure(capsys, tmp_path, "--format=onnx", out, weights_license="--license=My own")
    assert "there is no" in failure(capsys, tmp_path / "nothing", "--format=safetensors", out)
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'facejax[onnx]'" in failure(capsys, tmp_path, "--format=onnx", out)
    assert not (tmp_path / "out").exists()


def test_what_facejax_does_not_read(exported, tmp_path):
    _, folder = exported("simclr")
    command(folder.parent / "encoder", "--format=stablehlo", f"--out={tmp_path}")
    with pytest.raises(UserError, match=r"is of encoder\.stablehlo, which facejax does not read"):
        facejax.load(tmp_path)


def test_help_begins_with_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        export.main(["--help"])
    assert ended.value.code == 0
    assert "python -m facejax.export workdirs/demo --format=safetensors" in capsys.readouterr().out
