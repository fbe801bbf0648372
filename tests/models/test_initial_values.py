"""Every array of every fresh network starts as in the official code: mean, spread and shape of the distribution."""

import json
import math
import pathlib

import jax
import numpy as np
import pytest

from experiments import fra_r50, lafs_part_fvit, part_fvit_supervised, pcl_voxceleb
from facejax import methods
from facejax.interop import fra, lafs, pcl

NUM_CLASSES = 200
DEVIATIONS = 6  # of the sampling error of a statistic; about one in 10^9 draws is further off


def fra_arrays():
    config = fra_r50.get_config()
    config.model.update(backbone="resnet18", hidden_dim=512)
    state = fresh(config)
    return fra.to_official(state.variables, state.target, variant="resnet18")


def student_arrays():
    config = lafs_part_fvit.get_config()
    config.model.size = "small"
    config.head.num_outputs = 1000
    return lafs.student_to_official({"params": fresh(config).params}, size="small")


def part_fvit_arrays():
    config = part_fvit_supervised.get_config()
    config.model.size = "small"
    config.classifier.num_classes = NUM_CLASSES
    arrays = lafs.recognition_to_official(fresh(config).variables, size="small")
    return arrays | {"loss.weight": arrays["loss.weight"][:NUM_CLASSES]}  # the rows that are classes


def pcl_arrays():
    return pcl.to_official(fresh(pcl_voxceleb.get_config()).variables)


NETWORKS = {
    "fra": fra_arrays,
    "lafs_student": student_arrays,
    "part_fvit": part_fvit_arrays,
    "pcl": pcl_arrays,
}
SAME_ARRAY = "encoder_q."  # a second name of the online backbone


def fresh(config):
    """The state before the first step, compiled: what the forward computes for nothing is left out.

    Random bits are made by one operation, which compiles in a fraction of what JAX's default generator takes.
    """
    method = methods.create(config, steps_per_epoch=2, total_steps=4)
    return jax.jit(method.init)(jax.random.key(0, impl="unsafe_rbg"), {})


def assert_same_distribution(name, ours, theirs):
    shape, mean, std, low, high = theirs
    assert list(ours.shape) == shape, name
    ours = np.asarray(ours, np.float64)
    if std == 0:
        np.testing.assert_array_equal(ours, mean, err_msg=name)
        return
    both = math.sqrt(2 / ours.size)  # ours and theirs are one draw each
    assert abs(ours.mean() - mean) <= DEVIATIONS * std * both, name
    assert abs(ours.std() / std - 1) <= DEVIATIONS * both / math.sqrt(2), name
    # A uniform distribution ends where the sample does, a normal one goes on. Theirs is written with five digits.
    peak = max(-low, high)
    uniform = peak < 2 * std
    assert abs(np.abs(ours).max() / peak - 1) <= 30 / ours.size + 1e-4 + (0 if uniform else 0.35), name


@pytest.mark.parametrize("network", NETWORKS)
def test_initial_values(network, request):
    file = pathlib.Path(request.config.getoption("--goldens")) / "init_statistics.json"
    expected = json.loads(file.read_text())[network]["arrays"]
    ours = NETWORKS[network]()
    expected = {name: row for name, row in expected.items() if not name.startswith(SAME_ARRAY)}
    ours = {name: array for name, array in ours.items() if not name.endswith("num_batches_tracked")}
    assert ours.keys() == expected.keys()
    for name, array in ours.items():
        assert_same_distribution(name, array, expected[name])


@pytest.mark.parametrize(
    "wrong",
    [lambda x: 1.2 * x, lambda x: x + 0.05, lambda x: np.random.default_rng(0).normal(size=x.shape) / math.sqrt(3)],
)
def test_another_distribution_is_noticed(wrong):
    ours = np.random.default_rng(1).uniform(-1, 1, (64, 64))
    theirs = [[64, 64], 0.001, 1 / math.sqrt(3), -0.999, 0.9995]
    assert_same_distribution("x", ours, theirs)
    with pytest.raises(AssertionError):
        assert_same_distribution("x", wrong(ours), theirs)
