"""Where the landmark network looks before it has learned anything. Its numbers are checked in tests/parity."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from random_inputs import generator

from facejax.models.landmarks import LandmarkNetwork


class Trunk(nn.Module):
    """Stands for the trunk, which takes long to compile."""

    channels = 8

    @nn.compact
    def __call__(self, images, train):
        return nn.Conv(8, (8, 8), (8, 8))(images)


@pytest.fixture(autouse=True)
def small_trunk(monkeypatch):
    monkeypatch.setattr("facejax.models.landmarks.MobileNetV3", lambda identity_start, dtype: Trunk())


def test_points_start_anywhere_in_each_image():
    images = generator().normal(size=(3, 16, 16, 3)).astype(np.float32)
    points, _ = LandmarkNetwork(49, dropout=0.0).init_with_output(jax.random.key(0), images, False)
    np.testing.assert_allclose([points.min((1, 2)), points.max((1, 2))], [[0] * 3, [15] * 3], atol=1e-5)
    assert np.abs(points[0] - points[1]).max() > 0.1


@pytest.mark.parametrize(("count", "columns"), [(9, 3), (49, 7), (12, 4)])
def test_points_can_start_on_a_grid(count, columns):
    rng = generator()
    images = rng.normal(size=(3, 16, 16, 3)).astype(np.float32)
    points, variables = LandmarkNetwork(count, "grid", 0.0).init_with_output(jax.random.key(0), images, False)
    steps = np.linspace(0, 15, columns)
    expected = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)[:count]
    np.testing.assert_allclose(points, np.broadcast_to(expected, points.shape), atol=1e-5)
    moved = jax.tree.map(lambda param: param + rng.normal(size=param.shape, scale=0.1), variables)
    there = LandmarkNetwork(count, "grid", 0.0).apply(moved, images, False)
    assert np.ptp(there, axis=0).max() > 0.1
