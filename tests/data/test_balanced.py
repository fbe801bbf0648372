"""Every class as often as any other."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from random_inputs import generator

from facejax.data import few_shot, records
from facejax.data.balanced import BalancedOrder
from facejax.data.pipeline import GlobalShuffle


def make_order(classes, seed=0, batch_size=4):
    shuffle = GlobalShuffle(range(len(classes)), batch_size, seed)
    return BalancedOrder(np.arange(len(classes)), np.asarray(classes), shuffle, seed=seed)


def drawn(order, count, start=0):
    return np.array([order.record_at(position) for position in range(start, start + count)])


def test_classes_are_drawn_equally_often_and_images_of_a_class_too():
    classes = np.repeat([5, 2, 9], [300, 30, 3])
    generator().shuffle(classes)
    found = drawn(make_order(classes), 30 * len(classes))
    shares = [(classes[found] == label).mean() for label in (5, 2, 9)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    rare = np.bincount(found, minlength=len(classes))[classes == 9]
    np.testing.assert_allclose(rare / rare.sum(), 1 / 3, atol=0.05)
    assert len(set(found)) > 300  # of the frequent class others in each epoch


def test_order_is_a_function_of_seed_and_epoch():
    classes = np.repeat([0, 1], [20, 4])
    order = make_order(classes)
    epochs = drawn(order, 72).reshape(3, 24)
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(drawn(make_order(classes), 24, start=48), epochs[2])
    assert not np.array_equal(drawn(make_order(classes, seed=1), 24), epochs[0])
    assert order.steps_per_epoch == 6
    other = make_order(np.repeat([0, 1], [4, 20]))
    assert order.fingerprint() == make_order(classes).fingerprint() != other.fingerprint()


@pytest.fixture
def source(tmp_path):
    rows = [{"expression": label} for label in (3, 3, 3, 3, 0, 3)]
    features = {"expression": tfds.features.ClassLabel(num_classes=4)}
    records.write(tmp_path / "faces", records.Info("faces", features), {"train": rows})
    return records.open_split(tmp_path / "faces", "train")


def test_labels_are_those_of_the_records_that_were_chosen(source):
    shuffle = GlobalShuffle(source, 2, 0)
    found = drawn(BalancedOrder.read(source, "expression", shuffle, seed=0), 60)
    assert 20 < (found == 4).sum() < 40
    part = few_shot.select(source, 0.7, seed=3)
    order = BalancedOrder.read(part, "expression", GlobalShuffle(part, 2, 0), seed=0)
    labels = [part[place]["expression"] for place in drawn(order, 60)]
    there = {record["expression"] for record in map(part.__getitem__, range(len(part)))}
    assert set(labels) == there
