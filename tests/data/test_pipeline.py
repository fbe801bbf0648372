"""Order, resumption, sharding and damage in the host pipeline, and the way to the device."""

import itertools
import json
import logging

import jax
import numpy as np
import pytest
import simplejpeg
import tensorflow_datasets as tfds
from random_inputs import generator

from facejax.data import pipeline, records
from facejax.data.tfrecord import CorruptRecord
from facejax.errors import UserError

NUM_RECORDS = 23
FEATURES = {
    "image": tfds.features.Image(),
    "identity": tfds.features.Scalar(np.int64),
    "pose": tfds.features.Tensor(shape=(3,), dtype=np.float32),
    "name": tfds.features.Text(),
}


def _example(i):
    image = np.full((10 + i, 20, 3), 5 * i + 20, np.uint8)
    return {
        "image": simplejpeg.encode_jpeg(image, quality=95),
        "identity": i,
        "pose": np.full(3, i / 2, np.float32),
        "name": f"{i}.jpg",
    }


def _write(folder, examples):
    records.write(folder, records.Info("faces", FEATURES), {"train": examples}, records.Shards(num_bytes=4000))
    return records.open_split(folder, "train")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("good") / "data", [_example(i) for i in range(NUM_RECORDS)])


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Record 4 has a flipped byte, record 11 holds half a JPEG, the last shard has lost its last record(s)."""
    folder = tmp_path_factory.mktemp("damaged") / "data"
    examples = [_example(i) for i in range(NUM_RECORDS)]
    examples[11]["image"] = examples[11]["image"][:300]
    source = _write(folder, examples)
    path = folder / source.where(4).partition(",")[0]
    content = bytearray(path.read_bytes())
    content[content.index(examples[4]["image"]) + 100] ^= 4
    path.write_bytes(content)
    last = sorted(folder.glob("faces-train*"))[-1]
    last.write_bytes(last.read_bytes()[:-7])
    return records.open_split(folder, "train", skip_corrupt=True)


def _batches(source, sharding=None, seed=1, order=None, **reading):
    reading = {"batch_size": 4, "image_size": 16, "fields": ("image", "identity", "pose")} | reading
    reading = pipeline.Reading(**reading)
    order = order or pipeline.GlobalShuffle(source, reading.batch_size * reading.shard_count, seed)
    return pipeline.TrainingBatches(source, order, reading, sharding)


def _evaluation(source, **reading):
    reading = {"batch_size": 5, "image_size": 16, "fields": ("image", "identity")} | reading
    return list(pipeline.evaluation_batches(source, pipeline.Reading(**reading)))


def _take(batches, count):
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def _identities(batches):
    return np.concatenate([batch["identity"] for batch in batches])


def _assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_batches_hold_fitted_images_and_their_fields(source):
    for batch in _take(_batches(source), 6):
        assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
            "image": ((4, 16, 16, 3), np.uint8),
            "size": ((4, 2), np.int32),
            "identity": ((4,), np.int64),
            "pose": ((4, 3), np.float32),
        }
        for image, (height, width), identity, pose in zip(
            batch["image"], batch["size"], batch["identity"], batch["pose"], strict=True
        ):
            longer = max(10 + identity, 20)
            assert (height, width) == (round((10 + identity) * 16 / longer), round(20 * 16 / longer))
            assert np.abs(image[:height, :width].astype(int) - (5 * identity + 20)).max() <= 2
            assert not image[height:].any() and not image[:, width:].any()
            np.testing.assert_array_equal(pose, identity / 2)


def test_every_epoch_is_a_permutation_of_its_own(source):
    order = _identities(_take(_batches(source, batch_size=1), 4 * NUM_RECORDS)).reshape(4, NUM_RECORDS)
    for epoch in order:
        assert sorted(epoch) == list(range(NUM_RECORDS))
    assert len({tuple(epoch) for epoch in order}) == 4
    assert list(order[0]) != sorted(order[0])


def test_order_is_a_function_of_seed_and_epoch(source):
    first = _take(_batches(source), 12)
    _assert_equal(first, _take(_batches(source), 12))
    assert list(_identities(first)) != list(_identities(_take(_batches(source, seed=2), 12)))
    one_by_one = _identities(_take(_batches(source, batch_size=1), 48))
    np.testing.assert_array_equal(_identities(first), one_by_one)  # no record is dropped between epochs


def test_places_and_records_are_independent():
    """Twelfths of the places against twelfths of the records: chi-squared within 5 standard deviations."""

    class Numbers:
        def __init__(self):
            self.features = {"image": tfds.features.Image()}

        def __len__(self):
            return 4800

    seed = int(generator().integers(1 << 31))
    shuffle = pipeline.GlobalShuffle(Numbers(), 1, seed)
    order = np.array([shuffle.record_at(position) for position in range(4 * 4800)])
    counts = np.zeros((12, 12))
    np.add.at(counts, (np.arange(len(order)) % 4800 // 400, order // 400), 1)
    expected, freedom = len(order) / 144, 11 * 11
    assert abs(((counts - expected) ** 2 / expected).sum() - freedom) < 5 * np.sqrt(2 * freedom)


def test_hosts_share_the_records_without_overlap(source):
    alone = _take(_batches(source, batch_size=6), 8)
    hosts = [_take(_batches(source, batch_size=3, shard_index=host, shard_count=2), 8) for host in range(2)]
    together = [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)]
    _assert_equal(together, alone)


def test_worker_processes_change_nothing_and_resume_anywhere(source):
    expected = _take(_batches(source), 9)
    loader = _batches(source, num_workers=2)
    _assert_equal(list(itertools.islice(loader, 5)), expected[:5])
    state = json.loads(json.dumps(loader.get_state()))
    loader.close()
    resumed = _batches(source)
    resumed.set_state(state)
    _assert_equal(_take(resumed, 4), expected[5:])
    again = _batches(source, num_workers=1)
    again.set_state(state)
    _assert_equal(_take(again, 1), expected[5:6])


def test_resuming_with_other_data_is_refused(source):
    state = _batches(source).get_state()
    for options in ({"seed": 2}, {"batch_size": 5}, {"shard_count": 2}):
        with pytest.raises(UserError, match="the saved data order has"):
            _batches(source, **options).set_state(state)
    _batches(source, batch_size=2, shard_count=2).set_state(state)  # the same global batch on two hosts


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_record_is_an_error_that_names_file_and_record(damaged, num_workers):
    loader = _batches(damaged, num_workers=num_workers)
    with pytest.raises(CorruptRecord, match=r"faces-train\.tfrecord-0000\d-of-0000\d, record \d+: "):
        _take(loader, NUM_RECORDS)
    loader.close()


def _bad(damaged):
    bad = []
    for i in range(NUM_RECORDS):
        try:
            _evaluation(_Only(damaged, i), batch_size=1, fields=("image",))
        except CorruptRecord:
            bad.append(i)
    return bad


class _Only:
    """One record of a source."""

    def __init__(self, source, i):
        self.source, self.i, self.features = source, i, source.features

    def __len__(self):
        return 1

    def __getitem__(self, _):
        return self.source[self.i]

    def where(self, _):
        return self.source.where(self.i)


def test_damaged_records_are_skipped_counted_and_logged(damaged, caplog):
    bad = _bad(damaged)
    assert {4, 11, NUM_RECORDS - 1} <= set(bad) and len(bad) < 6
    with caplog.at_level(logging.WARNING):
        batches = _batches(damaged, batch_size=1, skip_corrupt=True)
        found = [(int(next(batches)["identity"][0]), batches.num_skipped) for _ in range(NUM_RECORDS)]
        batches.close()
    order, totals = zip(*found, strict=True)
    assert set(order) == set(range(NUM_RECORDS)) - set(bad)
    clean = _order(damaged, NUM_RECORDS + len(bad))
    for place, (skipped, identity) in enumerate(zip(np.diff(totals, prepend=0), order, strict=True)):
        following = [(k, i) for k, i in enumerate(clean[place:]) if i not in bad]
        assert (skipped, identity) == following[0]  # the next good one in the shuffled order
    for i in bad:
        assert f"skipped {damaged.where(i)}: " in caplog.text


def _order(source, count):
    shuffle = pipeline.GlobalShuffle(source, 4, seed=1)
    return [shuffle.record_at(position) for position in range(count)]


def test_an_epoch_of_few_records_goes_over_them_several_times(source):
    order = pipeline.GlobalShuffle(source, 2 * NUM_RECORDS, seed=1, min_steps_per_epoch=3)
    assert order.steps_per_epoch == 3
    batches = _take(_batches(source, batch_size=2 * NUM_RECORDS, order=order), 3)
    times = np.bincount(np.concatenate([batch["identity"] for batch in batches]))
    assert times.tolist() == [6] * NUM_RECORDS
    assert pipeline.GlobalShuffle(source, 4, seed=1, min_steps_per_epoch=3).steps_per_epoch == NUM_RECORDS // 4
    with pytest.raises(UserError, match="0 records are fewer"):
        pipeline.GlobalShuffle([], 4, seed=1, min_steps_per_epoch=3)


def test_nothing_but_damage(tmp_path):
    examples = [_example(i) | {"image": b"no image"} for i in range(3)]
    source = _write(tmp_path / "data", examples)
    with pytest.raises(UserError, match="3 records one after the other are corrupt"):
        _take(_batches(source, batch_size=2, skip_corrupt=True), 1)


def test_bad_requests(source):
    with pytest.raises(UserError, match=r"23 records are fewer than config\.batch_size=24; .*--config\.batch_size=16"):
        _batches(source, batch_size=12, shard_count=2)
    with pytest.raises(UserError, match="no field 'age'; it has identity, image, name, pose"):
        _batches(source, fields=("image", "age"))
    with pytest.raises(UserError, match="field 'name' is no array of fixed shape"):
        _batches(source, fields=("image", "name"))


def test_evaluation_covers_all_records_once_in_order(source):
    batches = _evaluation(source)
    assert [batch["mask"].sum() for batch in batches] == [5, 5, 5, 5, 3]
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert list(_identities(batches)[mask]) == list(range(NUM_RECORDS))
    for batch in batches:
        assert batch["image"].shape == (5, 16, 16, 3)
        expected = (5 * batch["identity"] + 20) * batch["mask"]
        assert np.abs(batch["image"].astype(int) - expected[:, None, None, None]).max() <= 2
    shares = [
        _evaluation(source, batch_size=3, fields=("identity",), shard_index=host, shard_count=2) for host in range(2)
    ]
    assert len(shares[0]) == len(shares[1]) == 4
    together = [
        np.concatenate([a["identity"][a["mask"]], b["identity"][b["mask"]]]) for a, b in zip(*shares, strict=True)
    ]
    assert list(np.concatenate(together)) == list(range(NUM_RECORDS))


def test_evaluation_of_damaged_records(damaged):
    bad = _bad(damaged)
    with pytest.raises(CorruptRecord, match="record"):
        _evaluation(damaged)
    batches = _evaluation(damaged, skip_corrupt=True)
    mask = np.concatenate([batch["mask"] for batch in batches])[:NUM_RECORDS]
    assert list(np.flatnonzero(~mask)) == bad
    assert sum(batch["skipped"].sum() for batch in batches) == len(bad)


@pytest.fixture
def sharding():
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))


def test_prefetched_batches_are_global_arrays_and_the_state_is_of_the_consumed(source, sharding):
    expected = _take(_batches(source), 8)
    batches = _batches(source, sharding)
    for step in range(4):
        batch = next(batches)
        assert isinstance(batch["image"], jax.Array) and batch["image"].sharding == sharding
        _assert_equal([batch], expected[step : step + 1])
        assert batches.get_state()["num_batches"] == step + 1
    state = batches.get_state()
    batches.close()
    resumed = _batches(source, sharding)
    next(resumed)
    resumed.set_state(state)
    _assert_equal(list(itertools.islice(resumed, 4)), expected[4:])
    resumed.close()


def test_prefetch_raises_the_error_after_the_good_batches(damaged, sharding):
    bad = _bad(damaged)
    good = next(k for k, i in enumerate(_order(damaged, NUM_RECORDS)) if i in bad)
    batches = _batches(damaged, sharding, batch_size=1)
    assert len(list(itertools.islice(batches, good))) == good
    with pytest.raises(CorruptRecord, match="record"):
        next(batches)
    batches.close()


def test_orbax_saves_and_restores_the_iterator(source, sharding, tmp_path):
    import grain
    import orbax.checkpoint as ocp

    expected = _take(_batches(source), 5)
    batches = _batches(source, sharding)
    for _ in range(3):
        next(batches)
    with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
        manager.save(3, args=ocp.args.Composite(data=grain.checkpoint.CheckpointSave(batches)))
        manager.wait_until_finished()
        batches.close()
        restored = _batches(source, sharding)
        manager.restore(3, args=ocp.args.Composite(data=grain.checkpoint.CheckpointRestore(restored)))
    _assert_equal([next(restored) for _ in range(2)], expected[3:])
    restored.close()
