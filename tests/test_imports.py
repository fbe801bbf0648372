"""Imports point one way: main, train, methods, models and losses; and nothing imports itself in a circle."""

import ast
import graphlib
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("facejax", "data_prep", "experiments", "synthetic_faces")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
ABOVE = ("facejax.main", "facejax.train")
# What a package or module must not import, directly or through others.
NOT_BELOW = {
    "synthetic_faces": ("facejax", "data_prep", "experiments"),
    "facejax": ("data_prep", "experiments"),
    "data_prep": ("experiments", "facejax.methods", *ABOVE),
    "facejax.train": ("facejax.main",),
    "facejax.methods": ABOVE,
    "facejax.losses": ("facejax.methods", "facejax.models", "facejax.data", "facejax.evaluation", *ABOVE),
    "facejax.models": ("facejax.methods", "facejax.losses", "facejax.data", "facejax.evaluation", *ABOVE),
    "facejax.data": ("facejax.methods", "facejax.models", "facejax.evaluation", *ABOVE),
    "facejax.evaluation": ("facejax.methods", "facejax.models", *ABOVE),
}


def within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def every_import(module: str, at_the_top: bool = False) -> set[str]:
    """All modules that a module imports: as soon as it is imported itself (`at_the_top`), or in a function too."""
    found, tree = set(), ast.parse(FILES[module].read_text())
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A module of a package, or a name that its file defines.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in FILES else node.module for name in names}
    return found


@pytest.fixture(scope="module")
def graph():
    return {module: (every_import(module) & FILES.keys()) - {module} for module in FILES}


def reached(graph, module: str) -> dict[str, str]:
    """All modules that one imports, directly or not, with the one that imports each."""
    found, waiting = {}, [module]
    while waiting:
        importer = waiting.pop()
        for name in graph[importer] - found.keys():
            found[name] = importer
            waiting.append(name)
    return found


@pytest.mark.parametrize("package", NOT_BELOW)
def test_arrows_point_downward(graph, package):
    for module in FILES:
        if within(module, package):
            for name, importer in reached(graph, module).items():
                assert not any(within(name, other) for other in NOT_BELOW[package]), f"{module}: {importer} -> {name}"


def test_losses_import_nothing_but_jax_and_the_standard_library():
    losses = [module for module in FILES if within(module, "facejax.losses")]
    found = {name for module in losses for name in every_import(module) if not within(name, "facejax.losses")}
    assert {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) <= {"jax", "jaxtyping"}


def test_nothing_is_imported_in_a_circle():
    graph = {module: (every_import(module, at_the_top=True) & FILES.keys()) - {module} for module in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the circle
