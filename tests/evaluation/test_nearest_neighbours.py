import collections

import numpy as np
import pytest
from random_inputs import generator

from facejax.evaluation import nearest_neighbours as nn


def reference(gallery, labels, queries, k, own=None):
    """Predicted labels by cosine in float64, one query after the other."""
    gallery, queries = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (gallery.astype(float), queries.astype(float))
    )
    predicted = []
    for i, query in enumerate(queries):
        similarity = gallery @ query
        if own is not None:
            similarity[i] = -np.inf
        votes = collections.Counter(labels[np.argsort(-similarity, kind="stable")[:k]].tolist())
        predicted.append(min(votes, key=lambda label: (-votes[label], label)))
    return np.array(predicted)


def clusters(rng, num, classes=6, dim=16, spread=1.5):
    labels = rng.integers(0, classes, num)
    return (rng.standard_normal((classes, dim))[labels] + spread * rng.standard_normal((num, dim))).astype(
        "f4"
    ), labels - 2


@pytest.mark.parametrize("k", [1, 5, 20])
def test_accuracy_equals_a_plain_search(k):
    features, labels = clusters(generator(), 400)
    gallery, queries = features[:280], features[280:]
    expected = np.mean(reference(gallery, labels[:280], queries, k) == labels[280:])
    assert nn.knn_accuracy(gallery, labels[:280], queries, labels[280:], k=k) == pytest.approx(expected)


def test_leave_one_out_equals_a_plain_search_and_asks_only_who_has_a_mate():
    features, labels = clusters(generator(), 150)
    labels[17] = 99  # alone: no query, but in everybody else's gallery
    asked = np.arange(150) != 17
    predicted = reference(features, labels, features, 5, own=True)
    assert nn.knn_accuracy(features, labels, k=5) == pytest.approx(np.mean((predicted == labels)[asked]))


def test_chunks_change_nothing():
    features, _ = clusters(generator(), 333)
    features[100:140] = features[7]  # equal similarities: the first in the gallery goes first, wherever blocks end
    gallery, queries = features[:230], features[200:]
    whole = nn.nearest_neighbours(gallery, queries, k=9)
    np.testing.assert_array_equal(nn.nearest_neighbours(gallery, queries, k=9, query_chunk=32, gallery_block=41), whole)
    whole = nn.nearest_neighbours(features, k=9)
    np.testing.assert_array_equal(nn.nearest_neighbours(features, k=9, query_chunk=50, gallery_block=64), whole)
    assert not (whole == np.arange(333)[:, None]).any()


def test_equal_votes_go_to_the_smallest_label():
    np.testing.assert_array_equal(nn.majority_vote([[7, 2, 2, 7, 1], [9, -4, 9, -4, 0], [5, 4, 3, 2, 1]]), [2, -4, 1])
    gallery, labels = np.eye(4, dtype="f4"), np.array([8, 3, 3, 8])
    # All four are equally similar, and all vote.
    assert nn.knn_accuracy(gallery, labels, np.ones((2, 4)), np.array([3, 8]), k=4) == 0.5


def test_fewer_images_than_neighbours_and_features_of_zero():
    features = np.array([[0, 0], [1, 0], [1, 0.1]], np.float32)
    assert nn.nearest_neighbours(features, k=20).shape == (3, 2)
    assert nn.nearest_neighbours(features, features, k=20).shape == (3, 3)
    assert nn.knn_accuracy(features, [0, 1, 1], k=1) == 1.0  # the lonely one is not asked
    assert np.isnan(nn.knn_accuracy(features, [0, 1, 2], k=1))


def test_similarity_is_the_cosine_whatever_the_length():
    rng = generator()
    gallery, queries = rng.standard_normal((50, 8)), rng.standard_normal((20, 8))
    scaled = gallery * np.exp(rng.uniform(-5, 5, (50, 1)))
    np.testing.assert_array_equal(
        nn.nearest_neighbours(gallery, queries, k=6), nn.nearest_neighbours(scaled, 1e3 * queries, k=6)
    )
