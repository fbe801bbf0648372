"""Official files as encoders: recognised by their keys, and with the numbers that the official code gave."""

import functools
import json
import pathlib
import sys

import golden
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_saving
from flax import traverse_util
from random_inputs import generator

import facejax
from facejax.errors import UserError
from facejax.interop import fra, lafs, official, pretrained, vit
from facejax.interop.torch_layout import to_torch

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
NETWORK, LANDMARKS = 2e-5, 1e-4  # of the largest magnitude, in float32: what shared/goldens' README calls meaningful


@functools.cache
def quick(function):
    """Jitted without what XLA takes long for."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def close(found, wanted, tolerance=NETWORK):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def shapes(vectors, name="shapes"):
    return json.loads(str(vectors[name]))


def nhwc(name, shape, seed):
    return golden.image(name, shape, seed).transpose(0, 2, 3, 1)


def fra_like(vectors, key="shapes"):
    arrays = golden.state_dict(shapes(vectors, key), int(vectors["seed"]))
    arrays["center"][:] = 0
    return arrays


@pytest.mark.parametrize("format", torch_saving.FORMATS)
def test_fra(goldens, tmp_path, format):
    """As FRA's training saves it, in both formats of `torch.save`: eval/* of the official code."""
    vectors = goldens("fra_small")
    arrays = {f"module.{key}": array for key, array in fra_like(vectors).items()}
    path = torch_saving.save(
        tmp_path / "x.pth.tar", arrays, format=format, wrap=lambda s: {"epoch": 50, "state_dict": s}
    )
    encoder = facejax.load(path)
    assert (encoder.card["method"], encoder.kinds) == ("fra", ("pooled",))
    assert {key.split(".")[0] for key in encoder.card["left_over"]} == {
        "center", "online_net", "predictor", "predictor_obj", "target_net"
    }  # fmt: skip
    assert all("proj_attn" in key for key in encoder.card["left_over"] if key.startswith("online_net"))
    if format == "legacy":
        return  # the same arrays
    images = 4 * nhwc("view1", (8, 3, 96, 96), int(vectors["seed"])) - 2
    outputs = quick(functools.partial(encoder.architecture.network.apply, train=False))(encoder.variables, images)
    close(outputs["features"], vectors["eval/backbone_pooled"])
    close(outputs["global"], vectors["eval/global"])
    close(outputs["regions"], vectors["eval/local"])
    close(np.moveaxis(outputs["heatmaps"], -1, 1), vectors["eval/heatmaps"])
    np.testing.assert_array_equal(encoder.architecture.encode(encoder.variables, images)["pooled"].shape, (8, 512))


@pytest.mark.parametrize("mask", ["attn", "group", "max"])
def test_lewel(goldens, tmp_path, mask):
    vectors = {
        key.removeprefix(f"{mask}/"): value for key, value in goldens("lewel").items() if key.startswith(f"{mask}/")
    }
    seed = int(goldens("lewel")["seed"])
    arrays = golden.state_dict(shapes(vectors), seed)
    path = torch_saving.save(tmp_path / "x.pth", arrays)
    if mask != "max":
        encoder = facejax.load(path)
    else:
        assert facejax.load(path).architecture.mask == "group"  # the keys are the same
        encoder = facejax.load(path, mask="max")
    assert (encoder.card["method"], encoder.architecture.mask) == ("lewel", mask)
    if mask == "group":
        return  # with the same variables as `max`, and compared in parity/test_lewel.py
    images = 4 * nhwc("view1", (8, 3, 96, 96), seed) - 2
    outputs = quick(functools.partial(encoder.architecture.network.apply, train=False))(encoder.variables, images)
    close(outputs["global"], vectors["eval/global"])
    close(outputs["regions"], vectors["eval/local"])
    heatmaps = np.moveaxis(outputs["heatmaps"], (1, 2), (-2, -1))
    close(heatmaps.reshape(vectors["eval/heatmaps"].shape), vectors["eval/heatmaps"])


def test_pcl(goldens, tmp_path):
    vectors = goldens("pcl")
    seed = int(vectors["seed"])
    arrays = golden.state_dict(shapes(vectors), seed)
    encoder = facejax.load(torch_saving.save(tmp_path / "5951.pth", arrays))
    assert (encoder.card["method"], encoder.preprocessing.size) == ("pcl", 64)
    assert {key.split(".")[0] for key in encoder.card["left_over"]} == {"exp_fc", "pose_fc"}
    images = nhwc("faces", (6, 3, 64, 64), seed)
    features = quick(encoder.architecture.encode)(encoder.variables, images)
    grid = {name: x.reshape(6, 4, 4, 128).transpose(0, 3, 1, 2).reshape(6, -1) for name, x in features.items()}
    for kind in encoder.kinds:
        close(grid[kind], vectors[f"eval/{kind}"])
    decoded = quick(functools.partial(encoder.architecture.network.apply, train=False, method="decode"))
    drawn = decoded(encoder.variables, features["face"], features["pose"])
    close(drawn.transpose(0, 3, 1, 2), vectors["eval/decoded"])


def test_part_fvit(goldens, tmp_path):
    vectors = goldens("lafs_supervised")
    seed = int(vectors["seed"])
    arrays = golden.state_dict(shapes(vectors), seed)
    encoder = facejax.load(torch_saving.save(tmp_path / "x.pth", arrays))
    assert (encoder.card["method"], encoder.card["left_over"]) == ("part_fvit", ["loss.weight"])
    images = 2 * nhwc("faces/0", (4, 3, 112, 112), seed) - 1

    @quick
    def look(variables, images):
        architecture = encoder.architecture
        return architecture.encode(variables, images)["embedding"], architecture.landmarks(variables, images)

    embedding, points = look(encoder.variables, images)
    close(points, vectors["eval/points"], LANDMARKS)
    close(embedding, vectors["eval/embedding"], LANDMARKS)


def student(vectors):
    return golden.state_dict(
        {f"student/{key}": shape for key, shape in shapes(vectors, "shapes/student").items()}, int(vectors["seed"])
    )


def test_lafs_student_and_teacher(goldens, tmp_path):
    """The teacher, unless the student is asked for; with and without a landmark network."""
    vectors = goldens("lafs")
    seed = int(vectors["seed"])
    arrays = {key.removeprefix("student/"): array for key, array in student(vectors).items()}
    teacher = {f"module.{key}": array + 1 for key, array in arrays.items()}
    both = {f"s/{key}": array for key, array in arrays.items()} | {f"t/{key}": array for key, array in teacher.items()}

    def wrap(tensors):
        parts = {"s/": {}, "t/": {}}
        for key, tensor in tensors.items():
            parts[key[:2]][key[2:]] = tensor
        return {"student": parts["s/"], "teacher": parts["t/"], "epoch": 41, "args": tensors.__class__()}

    path = torch_saving.save(tmp_path / "x.pth", both, wrap=wrap)
    wanted = lafs.student_from_official(arrays, size="nano")["params"]["transformer"]
    encoder = facejax.load(path, entry="student")
    assert_same(encoder.variables["params"]["transformer"], wanted)
    assert "a landmark network" in encoder.card["missing"][0] and not encoder.architecture.has_landmarks
    assert_same(facejax.load(path).variables["params"]["transformer"], jax.tree.map(lambda x: x + 1, wanted))

    landmarks = golden.state_dict(shapes(vectors, "shapes/landmark"), seed)
    there = torch_saving.save(tmp_path / "landmarks.pth", landmarks)
    encoder = facejax.load(path, entry="student", landmark_network=there)
    assert encoder.architecture.has_landmarks and not encoder.card["missing"]
    found = {name: tree["landmark_network"] for name, tree in encoder.variables.items()}
    found["params"] = encoder.variables["params"]["landmark_network"]
    assert_same(found, pretrained.landmark_network(there))


def test_full_size_key_lists(goldens):
    """Of files that are too large to be written here: nothing is missing, and the rest is what is not needed."""
    for vectors, name, left_over in (
        ("fra_r50", "shapes", {"center", "online_net", "target_net", "predictor", "predictor_obj"}),
        ("lafs", "shapes/part_fvit", {"loss"}),
    ):
        zeros = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes(goldens(vectors), name).items()}
        found = official._recognise(zeros, "x.pth")
        variables, rest = official._convert(found, zeros, "x.pth")
        found.architecture.select(variables, found.preprocessing.size, "x.pth")
        assert {key.split(".")[0] for key in rest} == left_over
    assert found.architecture == facejax.architectures.ARCHITECTURES["part_fvit"]()


def assert_same(found, wanted):
    found, wanted = (traverse_util.flatten_dict(dict(tree), sep="/") for tree in (found, wanted))
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


# --- Networks that are compared with PyTorch by hand: here it is their keys and prefixes

RESNET = {"backbone": "resnet18", "width": 4}
VIT = {"patch_size": 4, "grid": 2, "width": 64, "depth": 2, "mlp_width": 96}


def random_state_dict(name, settings, links):
    architecture = facejax.architectures.ARCHITECTURES[name](**settings)
    rng = generator()
    size = VIT["patch_size"] * VIT["grid"]
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), architecture.shapes(size))
    return architecture, variables, to_torch(links, variables)


@pytest.mark.parametrize(
    ("prefix", "method", "rest"),
    [
        ("", "resnet18", {"fc.weight": (10, 32), "fc.bias": (10,)}),
        ("module.base_net.", "frl", {"module.prototypes.weight": (3, 2)}),
        ("module.encoder_q.", "resnet18", {"module.encoder_k.conv1.weight": (4, 3, 7, 7), "module.queue": (2, 2)}),
        ("backbone.", "resnet18", {"head.weight": (2, 2)}),
        ("online_net.backbone.", "resnet18", {"predictor.weight": (2, 2)}),
    ],
)
def test_resnets(tmp_path, prefix, method, rest):
    architecture, variables, arrays = random_state_dict("resnet", RESNET, fra.resnet_links("resnet18", "", "backbone/"))
    arrays = {prefix + key: array for key, array in arrays.items()}
    arrays |= {key: np.ones(shape, np.float32) for key, shape in rest.items()}
    if "encoder_q" in prefix:  # the momentum encoder has all the keys too
        arrays |= {key.replace("encoder_q", "encoder_k"): array + 1 for key, array in arrays.items()}
    safetensors.numpy.save_file(
        {key: np.ascontiguousarray(array) for key, array in arrays.items()}, tmp_path / "x.safetensors"
    )
    encoder = facejax.load(tmp_path / "x.safetensors")
    assert (encoder.card["method"], encoder.architecture) == (method, architecture)
    assert_same(encoder.variables, variables)
    assert {key.replace("module.", "") for key in rest} <= set(encoder.card["left_over"])


@pytest.mark.parametrize("prefix", ["", "module.backbone.", "encoder."])
def test_vision_transformers(tmp_path, prefix, caplog):
    architecture, variables, arrays = random_state_dict("vit", VIT, vit.deit_links(2))
    arrays = {prefix + key: array for key, array in arrays.items()} | {"head.weight": np.ones((3, 64), np.float32)}
    with caplog.at_level("INFO"):
        encoder = facejax.load(torch_saving.save(tmp_path / "x.pth", arrays, wrap=lambda s: {"model": s}))
    assert (encoder.card["method"], encoder.architecture, encoder.preprocessing.size) == ("vit", architecture, 8)
    assert_same(encoder.variables, variables)
    assert encoder.card["left_over"] == ["head.weight"]
    assert f"Loaded {len(arrays) - 1} arrays of vit from" in caplog.text and "Left over: head (1)" in caplog.text
    pictures = encoder.pictures(np.zeros((1, 20, 10, 3), np.uint8))
    assert set(pictures) == set(encoder.captions) == {"attention"}


def test_farl(tmp_path):
    """The image tower of a CLIP; half precision becomes float32."""
    settings = VIT | {"variant": "clip", "projection_dim": 16}
    _, variables, arrays = random_state_dict("vit", settings, vit.clip_links(2))
    arrays = {f"visual.{key}": array.astype(ml_dtypes.bfloat16) for key, array in arrays.items()}
    rest = {"visual.mask_token": (64,), "positional_embedding": (7, 5), "transformer.resblocks.0.ln_1.weight": (5,)}
    arrays |= {key: np.ones(shape, np.float32) for key, shape in rest.items()}
    encoder = facejax.load(torch_saving.save(tmp_path / "x.pth", arrays, wrap=lambda s: {"state_dict": s}))
    assert (encoder.card["method"], encoder.kinds) == ("farl", ("embedding", "projection"))
    assert set(encoder.card["left_over"]) == set(rest)
    assert_same(encoder.variables, jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), variables))
    features = encoder.embed(np.zeros((2, 9, 9, 3), np.uint8), kind="projection")
    assert features.shape == (2, 16)


@pytest.mark.parametrize("format", ["zip", "legacy"])
def test_files_of_pytorch_itself(format):
    """PCL's encoder with one channel, saved by torch 2.13, `_use_new_zipfile_serialization` True and False."""
    encoder = facejax.load(FIXTURES / f"pcl_width1_{format}.pth")
    assert encoder.card["method"] == "pcl" and encoder.architecture.width == 1
    assert encoder.card["missing"] == ["the decoder"]
    for name, array in traverse_util.flatten_dict(encoder.variables, sep="/").items():
        assert array.dtype == np.float32 and array.size, name
    kernel = encoder.variables["params"]["trunk"]["conv1"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel[:, :, :, 0], golden.param("encoder.conv1.0.weight", (1, 3, 7, 7))[0].transpose(1, 2, 0)
    )


# --- What is wrong


def test_what_is_no_network_that_is_known(tmp_path):
    path = torch_saving.save(tmp_path / "x.pth", {"a.weight": np.ones(3, np.float32)})
    with pytest.raises(UserError, match=r"of no network that is known \(it has 1 arrays: a\.weight, \.\.\.\): FRA"):
        facejax.load(path)
    _, _, arrays = random_state_dict("vit", VIT, vit.deit_links(2))
    with pytest.raises(UserError, match=r"its shapes are of no .*a ViT with blocks\.0\.ls1\.gamma"):
        facejax.load(torch_saving.save(tmp_path / "y.pth", arrays | {"blocks.0.ls1.gamma": np.ones(3, np.float32)}))
    arrays.pop("blocks.1.norm2.bias")
    with pytest.raises(UserError, match=r"z\.pth: the key blocks\.1\.norm2\.bias is missing"):
        facejax.load(torch_saving.save(tmp_path / "z.pth", arrays))
    arrays.pop("cls_token")
    arrays.pop("pos_embed")
    with pytest.raises(UserError, match=r"the key 'pos_embed' is missing"):
        facejax.load(torch_saving.save(tmp_path / "w.pth", arrays))


def test_hints_that_do_not_fit(tmp_path):
    _, _, arrays = random_state_dict("vit", VIT, vit.deit_links(2))
    path = torch_saving.save(tmp_path / "x.pth", arrays)
    for hints, message in (
        ({"mask": "max"}, r"mask='max' is for LEWEL; this is vit"),
        ({"landmark_network": path}, r"landmark_network is for a transformer of LAFS without one; this is vit"),
        ({"entry": "student"}, r"has no entry 'student'"),
        ({"size": 3}, r"there is no hint 'size'; there are: entry"),
    ):
        with pytest.raises(UserError, match=message):
            facejax.load(path, **hints)
    with pytest.raises(UserError, match=r"is a folder, which needs no hint 'entry'"):
        facejax.load(tmp_path, entry="teacher")


def header(text, data=b"\0" * 16):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(**changes):
    return header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}})


SAFETENSORS = {
    "empty": b"",
    "text": b"no tensors at all",
    "a header of exabytes": (2**62).to_bytes(8, "little") + b"{}",
    "a header of 2 GB": (2**31).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": header(b"{{{{"),
    "a header that is not UTF-8": header(b'{"\xff": 1}'),
    "a header as deep as the stack": header(b"[" * 10**6),
    "a pickle as a header": header(b"cos\nsystem\n(S'true'\ntR."),
    "a tensor beyond the file": tensor(data_offsets=[0, 10**9], shape=[10**9 // 4]),
    "offsets the wrong way round": tensor(data_offsets=[16, 0]),
    "offsets below 0": tensor(data_offsets=[-16, 0]),
    "a shape larger than its data": tensor(shape=[10**6]),
    "a shape that overflows": tensor(shape=[2**33, 2**33]),
    "a type that does not exist": tensor(dtype="PICKLE"),
    "an object as a type": tensor(dtype={"__reduce__": "os.system"}),
    "overlapping tensors": header(
        {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("a", "b")}
    ),
    "a hole": header({"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}),
    "cut off": tensor()[:-1],
    "more than its tensors": tensor() + b"\0",
    "no tensors": header({"__metadata__": {"format": "pt"}}, b""),
}  # fmt: skip


@pytest.mark.parametrize("content", SAFETENSORS.values(), ids=SAFETENSORS)
def test_malicious_safetensors(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(UserError) as raised:
        facejax.load(tmp_path / "x.safetensors")
    told = str(raised.value)
    assert "x.safetensors" in told and "\n" not in told and len(told) < 500


# --- The Hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache as huggingface_hub lays it out, without a network: function that puts a file into a revision."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "hub" / "models--faces--fra"

    def put(source, commit, *references):
        blob = folder / "blobs" / f"{commit}{source.name}"
        link = folder / "snapshots" / commit / source.name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(source.read_bytes())
        link.symlink_to(pathlib.Path("..") / ".." / "blobs" / blob.name)
        for reference in references:
            (folder / "refs").mkdir(exist_ok=True)
            (folder / "refs" / reference).write_text(commit)

    return put


def test_files_on_the_hub(hub, tmp_path):
    pcl = FIXTURES / "pcl_width1_zip.pth"
    hub(pcl, "a" * 40, "main")
    encoder = facejax.load("hf://faces/fra")
    assert encoder.card["method"] == "pcl"
    encoder.save(tmp_path / "ours")
    for name in ("facejax.json", "weights.safetensors"):
        hub(tmp_path / "ours" / name, "b" * 40, "v2")
    hub(pcl, "b" * 40)
    assert_same(facejax.load("hf://faces/fra@v2").variables, encoder.variables)
    assert "b" * 40 in facejax.load("hf://faces/fra@v2").card["source"]
    assert facejax.load(f"hf://faces/fra@{'a' * 40}").card["source"].endswith(pcl.name)
    for number in (1, 2):
        (tmp_path / f"{number}.pth").write_bytes(b"")
        hub(tmp_path / f"{number}.pth", "c" * 40, "several")
    hub(tmp_path / "1.pth", "d" * 40)
    with pytest.raises(UserError, match=r"several files with weights: 1\.pth, 2\.pth"):
        facejax.load("hf://faces/fra@several")
    with pytest.raises(UserError, match=r"1\.pth is not a checkpoint of PyTorch"):
        facejax.load(f"hf://faces/fra@{'d' * 40}")


def test_the_hub_cannot_be_reached(hub, monkeypatch):
    with pytest.raises(UserError, match=r"hf://faces/none cannot be fetched: \w+: "):
        facejax.load("hf://faces/none")
    for source in ("hf://faces", "hf://faces/a/b", "hf://../fra", "hf://faces/fra@"):
        with pytest.raises(UserError, match="is named hf://ORG/NAME"):
            facejax.load(source)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs huggingface_hub .*pip install 'facejax\[hf\]'"):
        facejax.load("hf://faces/fra")
