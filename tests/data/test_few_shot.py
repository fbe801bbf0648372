"""Few-shot subsets: as many images of as many classes as asked for, nested, with labels counted from 0."""

import collections

import numpy as np
import pytest
from random_inputs import generator

from facejax.data import few_shot, records
from facejax.errors import UserError


@pytest.fixture
def source(tmp_path):
    """600 records of 30 identities."""
    identities = generator().permutation(np.arange(600) % 30) * 7
    rows = [{"identity": label, "number": number} for number, label in enumerate(identities)]
    features = {"identity": np.int64, "number": np.int64}
    records.write(tmp_path / "faces", records.Info("faces", features), {"train": rows})
    return records.open_split(tmp_path / "faces", "train")


def test_images_of_every_class(source):
    subset = few_shot.subset(source, "identity", images_per_class=4, seed=1)
    counts = collections.Counter(int(subset[i]["identity"]) for i in range(len(subset)))
    assert counts == dict.fromkeys(range(30), 4) and subset.num_classes == 30
    for i in range(len(subset)):
        record = source[subset.indices[i]]
        assert subset[i]["number"] == record["number"] and subset.classes[subset[i]["identity"]] == record["identity"]
    assert subset.where(3) == source.where(subset.indices[3])


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
    with pytest.raises(UserError, match=r"config\.data\.label: .*no field 'name'.*identity, number"):
        few_shot.subset(source, "name")
    with pytest.raises(UserError, match=r"0\.001 of the classes"):
        few_shot.subset(source, "identity", class_share=0.001)


def test_prefix_is_the_first_records(source):
    subset = few_shot.subset(source, "identity", class_share=0.05, class_choice="prefix", seed=0)
    assert subset.indices.tolist() == list(range(30))
    assert subset.classes.tolist() == sorted({source[i]["identity"] for i in range(30)})


def test_fraction_of_the_records(source):
    half, tenth = (few_shot.select(source, fraction, seed=3) for fraction in (0.5, 0.1))
    assert len(half) == 300 and len(tenth) == 60 and set(tenth.indices) < set(half.indices)
    assert tenth.indices.tolist() != list(range(60)) and tenth.indices.tolist() == sorted(tenth.indices)
    assert [tenth[i] for i in range(60)] == [source[i] for i in tenth.indices]
    assert tenth.where(7) == source.where(int(tenth.indices[7])) and tenth.features == source.features
    with pytest.raises(UserError, match=r"a fraction of 0\.001 of its 600 records leaves none"):
        few_shot.select(source, 0.001, seed=3)
