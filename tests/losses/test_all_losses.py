"""Properties that all losses share."""

import ast
import doctest
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import losses

BATCH = 8
ARGUMENTS = {
    "adaptive_wing": [(BATCH, 2, 4, 4), (BATCH, 2, 4, 4)],
    "arcface": [(BATCH, 3), (5, 3), (BATCH, 5)],
    "binary_cross_entropy": [(BATCH, 5), (BATCH, 5)],
    "byol": [(BATCH, 3), (BATCH, 3)],
    "centered_assignment": [(BATCH, 3), (BATCH, 3), (3,)],
    "cluster_assignment": [(BATCH, 3), (BATCH, 3)],
    "cosface": [(BATCH, 3), (5, 3), (BATCH, 5)],
    "cross_entropy": [(BATCH, 5), (BATCH, 5)],
    "dino": [(3, BATCH, 5), (2, BATCH, 5), (5,)],
    "info_nce": [(BATCH, 3)],
    "mixed_info_nce": [(BATCH, 3), (BATCH, BATCH - 2), np.arange(BATCH - 2)[::-1]],
    "orthogonality": [(BATCH, 3), (BATCH, 3)],
    "pose_info_nce": [(BATCH, 3), (2 * BATCH, 3), (BATCH // 2, 4), np.arange(4)[::-1]],
    "region_consistency": [(BATCH, 2, 3), (BATCH, 2, 3)],
    "sinkhorn": [(BATCH, 3)],
    "star": [(BATCH, 2, 4, 4), (BATCH, 2, 2)],
    "update_center": [(5,), (2, BATCH, 5)],
}


def arguments(name, dtype):
    """Positive numbers below 1, so that they do as probabilities and heatmaps too."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return [jnp.asarray(rng.random(a), dtype) if isinstance(a, tuple) else a for a in ARGUMENTS[name]]


def test_the_public_list():
    assert set(ARGUMENTS) == set(losses.__all__)


@pytest.mark.parametrize("name", losses.__all__)
def test_float32_at_least(name):
    loss = getattr(losses, name)
    with jax.enable_x64(True):
        double = jax.jit(loss)(*arguments(name, jnp.float64))
    half = jax.jit(loss)(*arguments(name, jnp.bfloat16))
    assert half.dtype == jnp.float32 and double.dtype == jnp.float64
    np.testing.assert_allclose(half, double, rtol=0.1, atol=0.1 * float(jnp.abs(double).max()))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", losses.__all__)
def test_integers_in_the_place_of_floats_are_refused(name):
    values, loss = arguments(name, jnp.float32), getattr(losses, name)
    for i, value in enumerate(values):
        wrong = jnp.ones(value.shape, jnp.int32 if isinstance(value, jax.Array) else jnp.float32)
        changed = [*values[:i], wrong, *values[i + 1 :]]
        for call in (loss, lambda *given: jax.eval_shape(loss, *given)):
            with pytest.raises(TypeError, match=r"^\w+: expected (floats|integers), got (int|float)32\b"):
                call(*changed)


@pytest.mark.parametrize("name", ["mixed_info_nce", "pose_info_nce"])
def test_what_is_no_permutation_is_refused(name):
    *values, permutation = arguments(name, jnp.float32)
    for number in (0, len(permutation), -1):  # twice, too large, negative
        with pytest.raises(ValueError, match=r"^permutation: expected each of 0 to \d once$"):
            getattr(losses, name)(*values, np.array([number, *permutation[1:]]))


@pytest.mark.parametrize("name", losses.__all__)
def test_the_example_in_the_docstring(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(
        getattr(losses, name), name, globs={name: getattr(losses, name)}
    )
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 1 and result.failed == 0


def test_they_import_only_jax_jaxtyping_and_the_standard_library():
    for path in pathlib.Path(losses.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "math")]
            for name in names:
                root = name.split(".")[0]
                assert root in {"jax", "jaxtyping", *sys.stdlib_module_names} or name.startswith("facejax.losses"), (
                    path.name,
                    name,
                )


SHARDED = """
import sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
sys.path[:0] = sys.argv[1:]
from test_all_losses import ARGUMENTS, BATCH, arguments
from facejax import losses

mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
for name in ("cluster_assignment", "mixed_info_nce", "orthogonality", "dino"):
    def loss(first, *rest):
        return jnp.sum(getattr(losses, name)(first, *rest))
    values = arguments(name, jnp.float32)
    def place(value):
        return NamedSharding(mesh, P(*("data" if n == BATCH else None for n in value.shape)))
    split = [jax.device_put(v, place(v)) for v in values]
    assert len(split[0].sharding.device_set) == 8 and not split[0].sharding.is_fully_replicated
    gradient = jax.jit(jax.value_and_grad(loss))
    for one, many in zip(jax.tree.leaves(gradient(*values)), jax.tree.leaves(gradient(*split)), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-6)
print("same")
"""


def test_a_batch_split_over_devices_gives_the_same():
    here = pathlib.Path(__file__).parent
    command = [sys.executable, "-c", SHARDED, str(here), str(here.parents[1])]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "same\n", result.stderr
