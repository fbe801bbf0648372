"""Neighbours and the plane, compared with NumPy's singular values and with the search of the evaluations."""

import numpy as np
import pytest
from random_inputs import generator

from facejax.evaluation.nearest_neighbours import nearest_neighbours
from facejax.reports import similarity


@pytest.mark.parametrize("shape", [(20, 7), (9, 40)])
def test_plane_is_that_of_the_singular_vectors(shape):
    features = generator().normal(size=shape) + 1
    coordinates, held = similarity.plane(similarity.cosines(features))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(coordinates), np.abs(left[:, :2] * values[:2]), atol=1e-9)
    np.testing.assert_allclose(held, (values[:2] ** 2).sum() / (values**2).sum())
    assert (coordinates[np.abs(coordinates).argmax(0), [0, 1]] > 0).all()


def test_neighbours_are_those_of_the_evaluations():
    features = generator().normal(size=(30, 5))
    matrix = similarity.cosines(features)
    found = np.stack([similarity.nearest(matrix, face, 4) for face in range(30)])
    np.testing.assert_array_equal(found, nearest_neighbours(features, k=4))


def test_few_faces_and_equal_ones():
    assert similarity.nearest(similarity.cosines(np.eye(3)), 0, 6).tolist() == [1, 2]
    coordinates, held = similarity.plane(similarity.cosines(np.ones((4, 3))))
    np.testing.assert_allclose(coordinates, np.zeros((4, 2)), atol=1e-7)
    assert 0 <= held <= 1
    assert np.isfinite(similarity.plane(similarity.cosines(np.zeros((3, 2))))[0]).all()


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        similarity.cosines(np.array([[1.0, np.inf], [0.0, 1.0]]))
