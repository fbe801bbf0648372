import errno
import json
import logging
import os
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import checkpoints, manifest
from facejax.errors import UserError


class Position:
    """Stands for a data iterator."""

    def __init__(self, at):
        self.at = at

    def get_state(self):
        return {"at": self.at}

    def set_state(self, state):
        self.at = state["at"]


def state(seed, width=3):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "params": {"w": jax.random.normal(keys[0], (4, width))},
        "rng": jax.random.key_data(keys[1]),
        "step": jnp.int32(seed),
    }


@pytest.fixture
def saved(tmp_path):
    """A run with checkpoints 1, 2, 3, 4 of which it keeps two, and every multiple of 3."""
    run = checkpoints.Checkpoints(tmp_path, keep=1, keep_period=3)
    for step in (1, 2, 3, 4):
        run.save(step, state(step), Position(step * 10))
    run.close()
    again = checkpoints.Checkpoints(tmp_path, keep=1, keep_period=3)  # as after a restart
    yield again
    again.close()


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def test_what_comes_back_is_what_was_saved_to_the_bit(saved):
    position = Position(0)
    restored = saved.restore(4, abstract(state(0)), position)
    jax.tree.map(np.testing.assert_array_equal, restored, state(4))
    assert position.at == 40


def test_retention(saved):
    assert sorted(int(path.name) for path in saved.folder.iterdir() if path.name.isdigit()) == [3, 4]
    assert saved.newest == 4


def test_a_save_that_was_cut_off_does_not_count(tmp_path):
    run = checkpoints.Checkpoints(tmp_path)
    run.save(7, state(7), Position(7))
    run.close()
    complete = tmp_path / "checkpoints" / "7"
    unfinished = tmp_path / "checkpoints" / "8.orbax-checkpoint-tmp"
    unfinished.mkdir()
    for file in complete.rglob("*"):
        if file.is_file():
            (unfinished / file.name).write_bytes(file.read_bytes()[:10])
    again = checkpoints.Checkpoints(tmp_path)
    assert again.newest == 7
    again.close()


def test_other_model_is_refused_with_the_first_array_that_differs(saved):
    with pytest.raises(
        UserError, match=r"checkpoints/4: .* params/w: the checkpoint has \(4, 3\), the model has \(4, 5\)"
    ):
        saved.restore(4, abstract(state(0, width=5)), Position(0))
    wider = abstract(state(0)) | {"target": abstract(state(0))["params"]}
    with pytest.raises(UserError, match=r"target/w: the checkpoint lacks it"):
        saved.restore(4, wider, Position(0))


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory):
    """Workdir of a run with the whole checkpoints 40 and 50."""
    workdir = tmp_path_factory.mktemp("run")
    run = checkpoints.Checkpoints(workdir)
    for step in (40, 50):
        run.save(step, state(step), Position(step))
    run.close()
    return workdir


@pytest.fixture
def workdir(run_of_two, tmp_path):
    """A copy of it, to damage."""
    return shutil.copytree(run_of_two, tmp_path / "workdir")


def reopened(workdir, step):
    """The restored step; asserts that state and position are those saved at `step`."""
    run = checkpoints.Checkpoints(workdir)
    position = Position(0)
    assert run.newest == step
    restored = run.restore(step, abstract(state(0)), position)
    run.close()
    jax.tree.map(np.testing.assert_array_equal, restored, state(step))
    assert position.at == step
    return run


def test_every_flipped_bit_is_found_or_harmless(workdir):
    """Harmless: state and position come back as they were saved."""
    shutil.rmtree(workdir / "checkpoints" / "40")
    files = sorted(path for path in (workdir / "checkpoints" / "50").rglob("*") if path.is_file())
    ends = np.cumsum([path.stat().st_size for path in files])
    found = 0
    for bit in np.random.default_rng(0).choice(8 * ends[-1], 150, replace=False):
        number = np.searchsorted(ends, bit // 8, side="right")
        file, content = files[number], bytearray(files[number].read_bytes())
        whole = bytes(content)
        content[bit // 8 - ends[number] + len(content)] ^= 1 << (bit % 8)
        file.write_bytes(content)
        try:
            checkpoints.newest_whole(workdir / "checkpoints")
        except UserError as error:
            found += 1
            assert file.name in str(error)
        else:
            reopened(workdir, 50)
        file.write_bytes(whole)
    assert found > 120  # what is left is orbax's own notes on the checkpoint
    reopened(workdir, 50)


def data_file(checkpoint):
    return max((checkpoint / "state").rglob("d/*"), key=lambda path: path.stat().st_size)


def replaced(path, content):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.write_bytes(content)


def as_folder(path):
    path.unlink()
    path.mkdir()


def write_manifest(checkpoint, content):
    (checkpoint / "manifest.json").write_bytes(content)


DAMAGES = {
    "an emptied file": (lambda folder: data_file(folder).write_bytes(b""), r"state/\S+ has 0 bytes instead of \d+"),
    "a truncated file": (lambda folder: os.truncate(data_file(folder), 5), r"state/\S+ has 5 bytes instead of \d+"),
    "a removed file": (lambda folder: data_file(folder).unlink(), r"state/\S+ is missing"),
    "removed metadata": (lambda folder: (folder / "state" / "_METADATA").unlink(), "state/_METADATA is missing"),
    "metadata that is no JSON": (
        lambda folder: (folder / "state" / "_METADATA").write_text("{{"),
        "state/_METADATA has 2 bytes",
    ),
    "a removed item": (lambda folder: shutil.rmtree(folder / "position"), r"position/\S+ is missing"),
    "a file in the place of an item": (lambda folder: replaced(folder / "state", b"x"), r"state/\S+ is missing"),
    "a folder in the place of a file": (lambda folder: as_folder(data_file(folder)), r"state/\S+ is a folder"),
    "a removed manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "an emptied manifest": (lambda folder: write_manifest(folder, b""), "manifest.json is damaged"),
    "a manifest that is no text": (lambda folder: write_manifest(folder, b"\xff\0"), "manifest.json is damaged"),
    "a manifest of nothing": (lambda folder: write_manifest(folder, b'{"files": {}}'), "manifest.json is damaged"),
    "a manifest of another kind": (lambda folder: write_manifest(folder, b"[[1]]"), "manifest.json is damaged"),
    "a manifest nested deeply": (lambda folder: write_manifest(folder, b"[" * 10**5), "manifest.json is damaged"),
    "an empty folder": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "manifest.json is missing"),
    "a file in the place of the folder": (lambda folder: replaced(folder, b"x"), "it is not a folder"),
    "a link to nowhere": (lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")), "it is not a folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_set_aside_for_the_one_before(workdir, caplog, kind):
    damage, told = DAMAGES[kind]
    damage(workdir / "checkpoints" / "50")
    with caplog.at_level(logging.WARNING):
        reopened(workdir, 40)
    (line,) = [record.getMessage() for record in caplog.records if "renamed to" in record.getMessage()]
    assert re.search(rf"checkpoints/50 is damaged \({told}.*renamed to 50.damaged; .* step 40", line), line
    # The step can be saved again, and damaged again.
    for aside in ("50.damaged", "50.damaged-2"):
        assert os.path.lexists(workdir / "checkpoints" / aside)
        run = checkpoints.Checkpoints(workdir)
        run.save(50, state(50), Position(50))
        run.close()
        reopened(workdir, 50)
        (workdir / "checkpoints" / "50" / "manifest.json").unlink()
        reopened(workdir, 40)


def test_no_whole_checkpoint_is_one_error_and_nothing_is_renamed(workdir):
    folder = workdir / "checkpoints"
    data_file(folder / "40").unlink()
    (folder / "50" / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"no checkpoint in \S+ is intact: 50: manifest.json is missing; 40: state/\S+ is"
    ):
        checkpoints.Checkpoints(workdir)
    assert sorted(path.name for path in folder.iterdir()) == ["40", "50"]
    shutil.rmtree(folder)
    folder.write_text("x")
    with pytest.raises(UserError, match=r"checkpoints is a file"):
        checkpoints.Checkpoints(workdir)


def test_foreign_files_are_no_damage(workdir, caplog):
    folder = workdir / "checkpoints"
    for place in (".", "50", "50/state", "50/state/d", "50/state/array_metadatas", "50/position"):
        (folder / place / ".DS_Store").write_bytes(b"\0")
        (folder / place / "sub").mkdir()
    for name in ("050", "60 (copy)", "latest", "²"):
        (folder / name).mkdir()
    reopened(workdir, 50)
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_what_only_orbax_notes_down_is_not_needed(workdir):
    notes = workdir / "checkpoints" / "50" / "_CHECKPOINT_METADATA"
    for content in (b"", b"{{{", b"\xff", b"[]"):
        notes.write_bytes(content)
        reopened(workdir, 50)
    notes.unlink()
    reopened(workdir, 50)


def test_what_orbax_cannot_read_is_one_error(workdir):
    (workdir / "checkpoints" / "50" / "state" / "array_metadatas" / "process_1").write_text("no JSON")
    with pytest.raises(UserError, match=r"checkpoints/50 is intact, but orbax-checkpoint \S+ cannot read it"):
        reopened(workdir, 50)


def test_metadata_that_name_code_import_nothing(workdir, monkeypatch):
    """With a manifest that fits: whoever shares a checkpoint can write one."""
    code = workdir / "code"
    code.mkdir()
    (code / "planted.py").write_text("raise SystemExit('planted code ran')\nclass Handler: pass\n")
    monkeypatch.syspath_prepend(str(code))
    folder = workdir / "checkpoints" / "50"
    (folder / "_CHECKPOINT_METADATA").write_text(
        json.dumps({"item_handlers": dict.fromkeys(("state", "position"), "planted.Handler")})
    )
    file = folder / "state" / "_METADATA"
    metadata = json.loads(file.read_text())
    for entry in metadata["tree_metadata"].values():
        entry["value_metadata"]["value_type"] = "planted.Handler"
    metadata["value_metadata_tree"] = {"module_name": "planted", "class_name": "Handler"}
    file.write_text(json.dumps(metadata))
    (folder / "state" / "_sharding").write_text(json.dumps({"c3RlcA==": '{"sharding_type": "planted.Handler"}'}))
    manifest.write(folder)
    with pytest.raises(UserError, match=r"checkpoints/50 "):
        reopened(workdir, 50)
    assert "planted" not in sys.modules


def test_checkpoints_in_a_bucket(bucket):
    workdir = "gs://bucket/run"

    def save(*steps):
        run = checkpoints.Checkpoints(workdir)
        for step in steps:
            run.save(step, state(step), Position(step))
        run.close()

    save(10, 20, 30)
    bucket.objects.pop("run/checkpoints/30/commit_success.txt")  # as if the save had been cut off
    name = bucket.names("run/checkpoints/20/state/d/")[0]
    content = bytearray(bucket.content(name))
    content[len(content) // 2] ^= 1
    bucket.put(name, bytes(content), {})
    reopened(workdir, 10)
    assert {name.split("/")[2] for name in bucket.names("run/checkpoints/")} == {"10", "20.damaged"}
    save(20)
    reopened(workdir, 20)


def test_a_manifest_that_cannot_be_written_is_one_error_and_the_checkpoint_does_not_count(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = checkpoints.Checkpoints(tmp_path)
    run.save(1, state(1), Position(1))
    run.wait()
    monkeypatch.setattr(manifest, "write", full)
    run.save(2, state(2), Position(2))
    with pytest.raises(UserError, match=r"no space left while writing \S+checkpoints"):
        run.close()
    reopened(tmp_path, 1)
