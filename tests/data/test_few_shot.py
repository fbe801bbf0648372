"""Few-shot subsets: as many images of as many classes as asked for, nested, with labels counted from 0."""

import collections
import types

import numpy as np
import pytest

from facejax.data import few_shot
from facejax.errors import UserError


class Source(list):
    """Records in memory."""

    features = types.MappingProxyType({"identity": None, "image": None})

    def where(self, i):
        return f"record {i}"


@pytest.fixture
def source():
    rng = np.random.default_rng()
    return Source({"identity": np.int64(label), "image": i} for i, label in enumerate(rng.integers(0, 30, 600) * 7))


def test_images_of_every_class(source):
    subset = few_shot.subset(source, "identity", images_per_class=4, seed=1)
    counts = collections.Counter(int(subset[i]["identity"]) for i in range(len(subset)))
    assert counts == dict.fromkeys(range(30), 4) and subset.num_classes == 30
    for i in range(len(subset)):
        record = source[subset.indices[i]]
        assert subset[i]["image"] == record["image"] and subset.classes[subset[i]["identity"]] == record["identity"]
    assert subset.where(3) == f"record {subset.indices[3]}"


def test_subsets_are_nested_and_depend_on_the_seed(source):
    def kept(**arguments):
        return set(few_shot.subset(source, "identity", **arguments).indices.tolist())

    assert kept(images_per_class=1, seed=1) < kept(images_per_class=2, seed=1) < kept(images_per_class=10, seed=1)
    assert kept(class_share=0.1, seed=1) < kept(class_share=0.5, seed=1) < kept(seed=1) == set(range(600))
    assert kept(images_per_class=1, seed=1) != kept(images_per_class=1, seed=2)


def test_share_of_classes(source):
    subset = few_shot.subset(source, "identity", class_share=0.1, seed=0)
    labels = [int(subset[i]["identity"]) for i in range(len(subset))]
    assert sorted(set(labels)) == [0, 1, 2]
    assert len(subset) == sum(record["identity"] in subset.classes for record in source)


def test_errors(source):
    with pytest.raises(UserError, match="no field 'name'; it has identity, image"):
        few_shot.subset(source, "name")
    with pytest.raises(UserError, match=r"0\.001 of the classes"):
        few_shot.subset(source, "identity", class_share=0.001)
