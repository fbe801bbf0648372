"""Whatever is read, of whoever's, imports nothing and runs nothing: records, weights, pairs, checkpoints, workdirs."""

import contextlib
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import pytest

import facejax
from data_prep import browse
from data_prep.formats import restricted_pickle
from facejax import checkpoints, encoder_folder, reporting
from facejax.data import records
from facejax.encoder import Encoder
from facejax.errors import UserError
from facejax.evaluation import metrics_file
from facejax.interop import pretrained, torch_file
from facejax.preprocessing import Preprocessing

FACES = Path(__file__).parent / "data" / "fixtures" / "tiny_faces"
PICKLE = b"ccanary\nCanary\n)R."  # canary.Canary()


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Path of a file that is made when the module `canary` is imported."""
    modules, trace = tmp_path / "modules", tmp_path / "imported"
    modules.mkdir()
    (modules / "canary.py").write_text(f"open({str(trace)!r}, 'w')\nclass Canary: pass\n")
    monkeypatch.syspath_prepend(modules)
    yield trace
    sys.modules.pop("canary", None)


def named(value):
    """JSON in which every text that looks like a class is the canary."""
    if isinstance(value, dict):
        return {key: named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [named(item) for item in value]
    return "canary.Canary" if isinstance(value, str) and "." in value and value[0].isalpha() else value


def rename(folder):
    """Puts the canary into all JSON files below a folder; returns how many there were."""
    changed = 0
    for path in folder.rglob("*"):
        if path.is_file() and path.read_bytes()[:1] == b"{":
            path.write_text(json.dumps(named(json.loads(path.read_text()))))
            changed += 1
    return changed


def read_records(folder):
    shutil.copytree(FACES, folder)
    assert rename(folder) == 2
    with pytest.raises(UserError, match="cannot understand"):
        records.open_split(folder, "train")


def browse_records(folder):
    shutil.copytree(FACES, folder)
    rename(folder)
    with pytest.raises(SystemExit):
        browse.main([str(folder), f"--out={folder}.html"])


def read_weights(folder):
    folder.mkdir()
    with zipfile.ZipFile(folder / "weights.pth", "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
    for read in (pretrained.landmark_network, lambda path: pretrained.transformer(path, size="S")):
        with pytest.raises(UserError, match="no state dict"):
            read(folder / "weights.pth")
    before = b"".join(pickle.dumps(value, 2) for value in (torch_file.MAGIC, 1001, {"little_endian": True}))
    (folder / "older.pth").write_bytes(before + PICKLE + pickle.dumps([], 2))
    for name in ("weights.pth", "older.pth"):
        with pytest.raises(UserError, match="no state dict"):
            facejax.load(folder / name)


def read_encoder(folder):
    Encoder.random("resnet", {"backbone": "resnet18", "width": 1}, Preprocessing(8)).save(folder)
    file = folder / encoder_folder.DESCRIPTION
    content = {
        **json.loads(file.read_text()),
        "architecture": "canary.Canary",
        "config": {"py/object": "canary.Canary"},
    }
    content.pop("digest")
    file.write_text(json.dumps({**content, "digest": encoder_folder.digest_of(content)}))
    with pytest.raises(UserError, match=r"unknown architecture 'canary\.Canary'"):
        facejax.load(folder)


def read_pairs(folder):
    with pytest.raises(ValueError, match=r"canary\.Canary"):
        restricted_pickle.loads(PICKLE)


def read_checkpoint(folder):
    state = {"params": {"w": jnp.ones((2, 3))}, "step": jnp.int32(4)}
    run = checkpoints.Checkpoints(folder)
    run.save(4, state, Position())
    run.close()
    assert rename(folder / "checkpoints") >= 2
    with contextlib.suppress(Exception):  # how damage is reported is tested elsewhere
        again = checkpoints.Checkpoints(folder)
        again.restore(4, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state), Position())
        again.close()
    with contextlib.suppress(Exception):
        pretrained.transformer(folder, size="S")


class Position:
    """Stands for a data iterator."""

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def read_workdir(folder):
    config = ml_collections.ConfigDict({"method": "fra", "image_size": 8})
    reporting.claim_workdir(folder, config)
    content = {"method": "fra", "py/object": "canary.Canary", "image_size": {"__reduce__": ["canary.Canary", []]}}
    (folder / "config.json").write_text(json.dumps(content))
    assert "canary" in reporting.check_workdir(folder, config)
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.5, "py/object": "canary.Canary"}))
    assert metrics_file.read(folder / "metrics.json") is None


@pytest.mark.parametrize(
    "read", [read_records, browse_records, read_weights, read_encoder, read_pairs, read_checkpoint, read_workdir]
)
def test_nothing_that_is_read_is_imported(read, tmp_path, canary):
    read(tmp_path / "shared")
    assert not canary.exists()


def test_the_canary_sings(canary):
    pickle.loads(PICKLE)
    assert canary.exists()
