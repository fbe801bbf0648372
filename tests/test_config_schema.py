"""Every key of an experiment is in the schema and no other, and each mistake is reported in one line."""

import ast
import importlib
import pathlib
from unittest import mock

import ml_collections
import pytest

import synthetic_faces
from facejax import methods
from facejax.config_schema.check import check
from facejax.config_schema.description import describe, describe_all
from facejax.config_schema.fields import section
from facejax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("", "alignment/", "finetune/")  # those in evaluate/ are no training
FILES = [path for folder in FOLDERS for path in sorted((ROOT / "experiments").glob(f"{folder}*.py"))]
FILES = [path for path in FILES if "def get_config" in path.read_text()]
EXPERIMENTS = [".".join(path.relative_to(ROOT / "experiments").with_suffix("").parts) for path in FILES]
SOURCES = ("landmark_network", "initialize_from", "initialize_from.landmark_network", "initialize_from.transformer")
OPTIONAL = {
    "flip",
    "input_range",
    "kinds",
    "names",
    "groups",
    "k",
    "threshold",
    "train_split",
    "test_split",
    "optional",
    "thresholds",
    "subset",
    "subset_names",
    "origin",
}  # of an evaluation
OPTIONAL |= {"min_steps_per_epoch", "synthetic_faces", "best", "resnet", "transformer", "hourglass", "deconvolution"}


def keys(kind):
    """Names of all keys of a section and of those within it."""
    for name, field in kind.model_fields.items():
        yield name
        if inner := section(field):
            yield from keys(inner)


SCHEMAS = [method.schema for method in methods.METHODS.values()]
KEYS = {name for schema in SCHEMAS for name in keys(schema)}


def get_config(name, arg="demo"):
    """The config of an experiment, with random weights where it leaves open what to start from."""
    config = importlib.import_module(f"experiments.{name}").get_config(arg)
    flat = dict(flatten(config.to_dict()))
    config.update_from_flattened_dict({key: "random" for key in SOURCES if flat.get(key) == ""})
    return config


def flatten(values, prefix=""):
    """(dotted key, value) of every value that is not a group of keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


FURTHER = [("fra_r50", "photos"), ("alignment.w300", "deconvolution"), ("alignment.wflw", "deconvolution_demo")]


@pytest.mark.parametrize(("name", "arg"), [(name, arg) for name in EXPERIMENTS for arg in (None, "demo")] + FURTHER)
def test_experiments_pass(name, arg):
    check(get_config(name, arg))


def test_few_keys_are_optional():
    """So an experiment of a method has, and its code reads, each key of the method's schema."""

    def optional(kind):
        for name, field in kind.model_fields.items():
            if not field.is_required():
                yield name
            if inner := section(field):
                yield from optional(inner)

    assert {name for schema in SCHEMAS for name in optional(schema)} == OPTIONAL


def test_every_key_is_read():
    """At least something in the code has the name of the key: an attribute, an argument or a text."""
    names = set()
    for path in ROOT.glob("facejax/**/*.py"):
        if path.parent.name == "config_schema":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            found = (getattr(node, attribute, None) for attribute in ("attr", "arg", "value"))
            names |= {name for name in found if isinstance(name, str)}
            if isinstance(node, ast.AnnAssign):  # a field of a module that takes a section as its arguments
                names.add(getattr(node.target, "id", None))
    assert names >= KEYS, KEYS - names


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lafs_part_fvit", "landmark_network"),
        ("lafs_finetune", "initialize_from.transformer"),
        ("lafs_finetune", "initialize_from.landmark_network"),
    ],
)
@pytest.mark.parametrize("arg", [None, "demo"])
def test_random_weights_have_to_be_asked_for(name, key, arg):
    config = get_config(name, arg)
    config.update_from_flattened_dict({key: ""})
    with pytest.raises(UserError, match=rf"^config\.{key} is empty: .*workdir.*'random' for random weights$"):
        check(config)


def test_the_grid_needs_no_landmark_network():
    assert get_config("dino_face").landmark_network == "random"  # for this test: the experiment leaves it empty
    check(importlib.import_module("experiments.dino_face").get_config())


REMOVED = mock.sentinel.removed
PROBABILITY = "must be a probability, 0 to 1"
WHOLE, POSITIVE_WHOLE, POSITIVE = "a whole number, 0 or more", "a whole number, 1 or more", "a number above 0"
CASES = [  # experiment, key, value, what the error says after the key
    # Keys
    (
        "fra_r50",
        "method",
        "far",
        "= 'far': unknown method; there are: alignment, byol, finetune, fra",
    ),
    ("fra_r50", "method", REMOVED, "is missing: one of alignment, byol"),
    ("fra_r50", "method", ("fra",), "unknown method"),
    ("fra_r50", "batch_sizes", 8, "no such key; did you mean 'batch_size'?"),
    ("fra_r50", "view1.flop", 0.5, "no such key; did you mean 'flip'?"),
    ("fra_r50", "ema.warmth", 0.5, "no such key; there are: momentum, target_statistics"),
    ("fra_r50", "evaluations.pose.lable", "pose", "no such key; did you mean 'label'?"),
    ("fra_r50", "seed", REMOVED, "is missing: a whole number"),
    ("fra_r50", "view1.flip", REMOVED, "is missing: a probability, 0 to 1 (probability of a left-right flip)"),
    ("fra_r50", "view1", REMOVED, "is missing: a group of keys: crop_scale"),
    ("fra_r50", "evaluations.pose.label", REMOVED, "is missing: a non-empty text"),
    ("fra_r50", "view1", 3, "= 3: must be a group of keys: crop_scale"),
    ("fra_r50", "evaluations", (), "= (): must be a dict: name -> group of keys"),
    ("fra_r50", "evaluations.pose", "pose", "= 'pose': must be a group of keys: label, probes"),
    ("pcl_voxceleb", "batches.faces", 8, "no such key; did you mean 'face'?"),
    # Every experiment
    ("fra_r50", "seed", -1, "must be a whole number, 0 to 2**32 - 1"),
    ("fra_r50", "seed", 2**32, "must be a whole number, 0 to 2**32 - 1"),
    ("fra_r50", "epochs", 0, POSITIVE_WHOLE),
    ("fra_r50", "epochs", 1.5, POSITIVE_WHOLE),
    ("fra_r50", "epochs", True, POSITIVE_WHOLE),
    ("fra_r50", "epochs", "30", POSITIVE_WHOLE),
    ("fra_r50", "batch_size", 0, POSITIVE_WHOLE),
    ("fra_r50", "batch_size", -8, POSITIVE_WHOLE),
    ("fra_r50", "image_size", 0, POSITIVE_WHOLE),
    ("fra_r50", "dtype", "float33", "must be one of 'float32', 'bfloat16'"),
    ("fra_r50", "dtype", None, "must be one of 'float32', 'bfloat16'"),
    ("fra_r50", "mean", (0.5, 0.5), "must be three numbers from 0 to 1"),
    ("fra_r50", "mean", (0.5, 0.5, 127.0), "must be three numbers from 0 to 1"),
    ("fra_r50", "std", (0.2, 0.2, 0.0), "must be three numbers above 0"),
    ("fra_r50", "data.folder", "", "must be a path or URL"),
    ("fra_r50", "data.image_size", 0, POSITIVE_WHOLE),
    ("fra_r50", "data.num_workers", -1, WHOLE),
    ("fra_r50", "data.skip_corrupt", "yes", "must be True or False"),
    ("fra_r50", "checkpoint.every_steps", 0, POSITIVE_WHOLE),
    ("fra_r50", "checkpoint.keep", 0, POSITIVE_WHOLE),
    ("fra_r50", "checkpoint.keep_period", -1, WHOLE),
    ("fra_r50", "log_every_steps", 0, POSITIVE_WHOLE),
    ("fra_r50", "evaluate_every_steps", -1, WHOLE),
    ("fra_r50", "profile_steps", (5,), "must be two whole numbers, 1 or more, in order; or ()"),
    ("fra_r50", "profile_steps", (9, 5), "must be two whole numbers, 1 or more, in order; or ()"),
    ("fra_r50", "profile_steps", (0, 5), "must be two whole numbers, 1 or more, in order; or ()"),
    ("fra_r50", "profile_steps", 5, "must be two whole numbers, 1 or more, in order; or ()"),
    ("fra_r50", "mesh.data", 0, "must be a dict: axis -> 1 or more, or once -1"),
    ("fra_r50", "mesh.model", -1, "only one axis may have the size -1"),
    ("fra_r50", "mesh", {"model": 1}, "there is no axis 'data'"),
    ("fra_r50", "sharding", (("(", "fsdp"),), "'(' is not a valid regular expression: missing )"),
    ("fra_r50", "sharding", ("kernel$", "fsdp"), "must be a tuple of (regular expression, 'fsdp' or a tuple"),
    ("fra_r50", "sharding", (("kernel$", "fdsp"),), "must be a tuple of (regular expression, 'fsdp' or a tuple"),
    ("fra_r50", "sharding", (("kernel$", ("model",)),), "names the axis 'model'; config.mesh has data"),
    ("fra_r50", "synthetic_faces.train_identities", 0, POSITIVE_WHOLE),
    ("fra_r50", "synthetic_faces.size", synthetic_faces.SIZES[0] - 1, "a whole number, 16 to 256"),
    ("fra_r50", "synthetic_faces.size", synthetic_faces.SIZES[1] + 1, "a whole number, 16 to 256"),
    ("fra_r50", "synthetic_faces.seed", -1, "must be a whole number"),
    ("fra_r50", "evaluations.identity.k", 0, POSITIVE_WHOLE),
    ("fra_r50", "evaluations.identity.probes", ("kn",), "must be a tuple of some of knn, retrieval, linear"),
    ("fra_r50", "evaluations.identity.probes", "knn", "must be a tuple of some of knn, retrieval, linear"),
    ("fra_r50", "evaluations.identity.probes", (), "must be a tuple of some of knn, retrieval, linear"),
    ("fra_r50", "evaluations.identity.label", "", "must be a non-empty text"),
    ("fra_r50", "evaluations.pose.train_split", "test", "the probe 'ridge' needs a train_split other than its"),
    # Views
    ("fra_r50", "view1.flip", 1.5, f"= 1.5: {PROBABILITY} (probability of a left-right flip)"),
    ("fra_r50", "view1.flip", -0.1, PROBABILITY),
    ("fra_r50", "view1.flip", float("nan"), PROBABILITY),
    ("fra_r50", "view1.flip", "0.5", PROBABILITY),
    ("fra_r50", "view1.flip", True, PROBABILITY),
    ("fra_r50", "view2.blur_probability", 2, PROBABILITY),
    ("fra_r50", "view1.crop_scale", (1.0, 0.2), "the first number must not be larger than the second, 0.2"),
    ("fra_r50", "view1.crop_scale", (0.0, 1.0), "must be two fractions above 0, up to 1, in order"),
    ("fra_r50", "view1.crop_scale", 0.2, "must be two fractions above 0, up to 1, in order"),
    ("fra_r50", "view1.blur_radius", (2.0, 0.1), "the first number must not be larger"),
    ("fra_r50", "view1.blur_radius", (0.0, 0.0), "must be two numbers, 0 or more, in order"),
    ("fra_r50", "view1.jitter", (0.4, 0.4, 0.2), "must be four numbers"),
    ("fra_r50", "view1.jitter", (0.4, 0.4, 0.2, 0.6), "must be four numbers, 0 or more, the last up to 0.5"),
    ("fra_r50", "view1.jitter", (-1.0, 0.4, 0.2, 0.1), "must be four numbers"),
    ("lafs_part_fvit", "global1.method", "lanczos", "must be one of 'bilinear', 'bicubic'"),
    ("pcl_voxceleb", "augmentation.blur_taps", 6, "that is even; it must be an odd whole number"),
    ("pcl_voxceleb", "augmentation.blur_padding", "zero", "must be one of 'edge', 'reflect'"),
    # FRA
    ("fra_r50", "model.backbone", "resnet20", "must be one of 'resnet18', 'resnet34', 'resnet50'"),
    ("fra_r50", "model.output_stride", 4, "must be one of 8, 16, 32"),
    ("fra_r50", "model.width", 0, POSITIVE_WHOLE),
    ("fra_r50", "model.hidden_dim", -4, POSITIVE_WHOLE),
    ("fra_r50", "model.embedding_dim", 10, "must be a multiple of 4 and of config.model.decoder_heads (8)"),
    ("fra_r50", "model.embedding_dim", 12, "must be a multiple of 4 and of config.model.decoder_heads (8)"),
    ("fra_r50", "model.dropout", 1.0, "must be a number from 0 to just below 1"),
    ("fra_r50", "model.heatmap_temperature", 0.0, POSITIVE),
    ("fra_r50", "image_size", 16, "= 16: resnet18 makes a grid of 1x1 cells of it; at least 2x2 are needed, from 17"),
    ("fra_r50", "loss.student_temperature", 0.0, POSITIVE),
    ("fra_r50", "loss.teacher_temperature", -0.1, POSITIVE),
    ("fra_r50", "loss.cluster_weight", -1.0, "a number, 0 or more"),
    ("fra_r50", "optimizer.learning_rate", float("inf"), POSITIVE),
    ("fra_r50", "optimizer.exclude", "none", "must be one of 'official', 'bias_and_norm'"),
    ("fra_r50", "ema.momentum", 1.5, "must be a number from 0 to just below 1"),
    ("fra_r50", "ema.target_statistics", "mine", "must be one of 'own', 'online'"),
    # PCL and SimCLR
    ("pcl_voxceleb", "batch_size", 100, "= 100: fewer records than the 104 of config.batches (decoder 32, face 64"),
    ("pcl_voxceleb", "batches", dict(decoder=0, face=0, pose=0), "every update is left out"),
    ("pcl_voxceleb", "batches.face", 1, "= 1: a single image has no negatives"),
    ("simclr_voxceleb", "batches.face", 0, POSITIVE_WHOLE),
    ("pcl_voxceleb", "image_size", 15, "= 15: too small for the network"),
    ("pcl_voxceleb", "model.decoder_size", 24, "= 24: must be a power of two"),
    ("pcl_voxceleb", "loss.negatives_of", "both", "must be one of 'own_image', 'all_images'"),
    ("pcl_voxceleb", "loss.mixing", 0.5, "must be above 0.5"),
    ("pcl_voxceleb", "loss.temperature", 0.0, POSITIVE),
    ("pcl_voxceleb", "optimizer.without_gradient", "zero", "must be one of 'skip', 'decay'"),
    ("pcl_voxceleb", "data.hierarchy", "identity", "must be a tuple of texts"),
    # LAFS and recognition
    ("lafs_part_fvit", "model.size", "huge", "must be one of 'nano', 'tiny', 'small', 'base'"),
    ("lafs_part_fvit", "model.geometry", "round", "must be one of 'official', 'upright'"),
    ("lafs_part_fvit", "model.patch_size", 7, "= 7: must be even"),
    ("lafs_part_fvit", "local.size", 16, "= 16: must be config.image_size (48)"),
    ("lafs_part_fvit", "landmark_augmentation.local_points", 50, "= 50: more than config.model.num_points (49)"),
    ("lafs_part_fvit", "loss.first_teacher_temperature", 0.0, POSITIVE),
    ("lafs_part_fvit", "optimizer.weight_decay", 0.04, "must be two numbers, 0 or more"),
    ("lafs_part_fvit", "data.class_share", 0.0, "must be a fraction above 0, up to 1"),
    ("dino_face", "model.num_points", 15, "= 15: without landmarks it must be the number of patches of 8 px"),
    ("dino_face", "local.size", 20, "= 20: must be a multiple of config.model.patch_size (8)"),
    ("lafs_finetune", "classifier.loss", "softmax", "must be one of 'cosface', 'arcface'"),
    ("lafs_finetune", "classifier.num_classes", 1, "must be the number of identities"),
    ("lafs_finetune", "classifier.axis", "model", "config.mesh has data"),
    ("lafs_finetune", "classifier.sampled", 0.0, "must be a fraction above 0, up to 1"),
    ("lafs_finetune", "optimizer.accumulation", 3, "= 3: must divide config.batch_size (32)"),
    ("lafs_finetune", "optimizer.groups", "none", "must be one of 'end_to_end', 'layer_decay', 'layer_decay_official'"),
    ("lafs_finetune", "optimizer.warmup_epochs", 20, "= 20: must be less than config.epochs (20)"),
    ("lafs_finetune", "optimizer.landmark_warmup_epochs", (3, 1), "the first number must not be larger"),
    ("lafs_finetune", "optimizer.landmark_warmup_epochs", (2, 2), "must be an epoch and a later one"),
    ("lafs_finetune", "optimizer.landmark_warmup_epochs", (-1, 2), "must be two whole numbers, 0 or more, in order"),
    ("lafs_finetune", "rand_augment.num_operations", 0, POSITIVE_WHOLE),
    ("lafs_finetune", "erasing.ratio", (3.3, 0.3), "the first number must not be larger"),
    ("lafs_finetune", "mixup.alpha", 0.0, POSITIVE),
]


@pytest.mark.parametrize(("name", "key", "value", "message"), CASES, ids=[f"{n}-{k}={v!r}" for n, k, v, _ in CASES])
def test_what_cannot_work_is_said_in_one_line(name, key, value, message):
    values = get_config(name).to_dict()
    *outer, last = key.split(".")
    group = values
    for part in outer:
        group = group[part]
    if value is REMOVED:
        del group[last]
    else:
        group[last] = value
    with pytest.raises(UserError) as caught:
        check(ml_collections.ConfigDict(values, convert_dict=True))
    said = str(caught.value)
    assert message in said
    assert said.startswith("config.") and len(said.splitlines()) == 1


def test_all_wrong_keys_are_counted():
    config = get_config("fra_r50")
    config.epochs, config.view1.flip, config.view2.flip = 0, 2.0, 3.0
    with pytest.raises(UserError, match=r"^config\.epochs = 0: .*\(and 2 more, the next: config\.view1\.flip = 2.0\)$"):
        check(config)


def test_lists_count_as_tuples():
    config = get_config("fra_r50")
    values = config.to_dict() | {"profile_steps": [3, 5], "sharding": [["kernel$", "fsdp"]]}
    experiment = check(ml_collections.ConfigDict(values))
    assert experiment.profile_steps == (3, 5) and experiment.sharding == (("kernel$", "fsdp"),)


def test_page_of_all_keys_is_up_to_date():
    page = (ROOT / "docs" / "config.md").read_text()
    assert page == describe_all(), "python -m facejax.main --helpconfig > docs/config.md"
    assert max(map(len, page.splitlines())) <= 120


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_key_of_an_experiment_is_described_with_its_value(name):
    config = importlib.import_module(f"experiments.{name}").get_config("demo")
    told = " ".join(describe(config).split())
    for key, value in flatten(config.to_dict()):
        if key.startswith("mesh."):
            continue  # its axes are a value
        assert f"- `{key}` = {' '.join(repr(value).split())} (" in told
    assert "`mesh` = {'data': -1} (a dict" in told
