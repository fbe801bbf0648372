"""The order of records by identity, video and frame."""

import itertools

import numpy as np
import pytest
import tensorflow_datasets as tfds
from random_inputs import generator

from facejax.data import records
from facejax.data.hierarchy import Hierarchy, ItemOrder
from facejax.errors import UserError


@pytest.fixture
def labels():
    """Identity and video of 600 records in a random order; video names repeat in every identity."""
    rng = generator()
    return rng.integers(-3, 9, 600), rng.choice(["a", "b", "c"], 600)


def test_every_group_holds_its_records(labels):
    identity, video = labels
    tree = Hierarchy(np.arange(600), labels)
    assert len(tree) == len(set(identity))
    assert tree.depth == 2
    found = []
    for item in range(len(tree)):
        videos = []
        for first in range(len(set(video[identity == np.unique(identity)[item]]))):
            frames = {tree.pick(item, [first, second]) for second in range(600)}
            (one_video,) = {(identity[i], video[i]) for i in frames}
            assert frames == set(np.flatnonzero((identity == one_video[0]) & (video == one_video[1])))
            videos.append(one_video)
        assert len(set(videos)) == len(videos)
        found += videos
    assert set(found) == set(zip(identity, video, strict=True))


def test_without_labels_every_record_is_an_item():
    tree = Hierarchy(np.array([5, 3, 8]))
    assert len(tree) == 3
    assert sorted(tree.pick(item, []) for item in range(3)) == [3, 5, 8]


def test_streams_visit_every_item_once_an_epoch():
    tree = Hierarchy(np.arange(40), [np.arange(40) // 2])  # 20 items of 2 records
    order = ItemOrder(tree, streams=(5, 4, 2), batch_size=12, seed=3)
    assert (order.steps_per_epoch, len(order)) == (4, 48)
    epochs = [np.array([order.record_at(epoch * 48 + p) for p in range(48)]).reshape(4, 12) for epoch in range(3)]
    for epoch in epochs:
        items = epoch // 2
        assert sorted(items[:, :5].ravel()) == list(range(20))
        for stream in (items[:, 5:9], items[:, 9:]):  # the last one also fills the batch
            assert len(set(stream.ravel())) == stream.size
        assert any(set(a) != set(b) for a, b in zip(items[:, :4], items[:, 5:9], strict=True))
    assert all((a[:, :5] != b[:, :5]).any() for a, b in itertools.combinations(epochs, 2))


def test_videos_are_drawn_before_frames():
    """A video of one frame comes as often as one of 99."""
    tree = Hierarchy(np.arange(100), [np.zeros(100, int), np.arange(100) > 0])
    order = ItemOrder(tree, streams=(1,), batch_size=1, seed=int(generator().integers(2**31)))
    drawn = np.array([order.record_at(p) for p in range(2000)])
    assert abs((drawn == 0).mean() - 0.5) < 0.06  # five standard deviations
    assert len(set(drawn)) > 95


def test_order_is_a_function_of_the_seed(labels):
    def order(seed, **changes):
        settings = {"streams": (4, 2), "batch_size": 6, "seed": seed} | changes
        return ItemOrder(Hierarchy(np.arange(600), labels), **settings)

    def first(order):
        return [order.record_at(p) for p in range(100)]

    assert first(order(1)) == first(order(1))
    assert first(order(1)) != first(order(2))
    assert order(1).fingerprint() == order(1).fingerprint()
    for other in (order(2), order(1, streams=(3, 3)), order(1, batch_size=7)):
        assert order(1).fingerprint() != other.fingerprint()


def test_too_few_items():
    with pytest.raises(UserError, match=r"3 items.*fewer than the 4"):
        ItemOrder(Hierarchy(np.arange(3)), streams=(4, 2), batch_size=6, seed=0)


def test_items_of_records(tmp_path, labels):
    identity, video = labels
    features = {"identity": np.int64, "video": tfds.features.Text()}
    rows = [{"identity": i, "video": v} for i, v in zip(identity, video, strict=True)]
    records.write(tmp_path / "faces", records.Info("faces", features), {"train": rows})
    source = records.open_split(tmp_path / "faces", "train")
    assert Hierarchy.read(source, ("identity", "video")).checksum() == Hierarchy(np.arange(600), labels).checksum()
    assert len(Hierarchy.read(source, ())) == 600
    with pytest.raises(UserError, match=r"config\.data\.hierarchy: .* no field 'person'"):
        Hierarchy.read(source, ("person",))
