"""What a user writes as a path: what it becomes, and what is said of one that cannot be used."""

import os

import pytest

from facejax import paths
from facejax.errors import UserError


def test_local_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    cases = {"run": tmp_path / "run", "./a/../b": tmp_path / "b", "~/run": "/home/ada/run", "/x": "/x", "a:b": "a:b"}
    for written, wanted in cases.items():
        resolved = paths.resolve(written)
        assert os.fspath(resolved) == os.path.join(tmp_path, wanted)
        assert paths.resolve(resolved) == resolved


def test_url_stays_a_url(bucket, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    resolved = paths.resolve("gs://bucket/runs/fra")
    assert os.fspath(resolved) == "gs://bucket/runs/fra"
    assert os.fspath(paths.resolve(resolved)) == os.fspath(resolved)
    (resolved / "config.json").write_text("{}")
    assert bucket.names() == ["runs/fra/config.json"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("az://faces/run", "--workdir=az://faces/run: az:// is not supported; use a local path.*gs:// and s3://"),
        ("GS://faces/run", "GS:// is not supported"),
        ("file:///faces", "file:// is not supported"),
        ("gs:/faces/run", "--workdir=gs:/faces/run: a URL has the form gs://BUCKET/FOLDER"),
        ("gs:///run", "the form gs://BUCKET/FOLDER"),
        ("s3://faces/run", "--workdir=s3://faces/run: s3:// needs the package s3fs: pip install s3fs"),
    ],
)
def test_url_that_cannot_be_used_is_refused_in_one_line(url, said, monkeypatch):
    find_spec = paths.importlib.util.find_spec
    monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: None if name == "s3fs" else find_spec(name))
    with pytest.raises(UserError, match=said):
        paths.resolve(url, "--workdir")


def test_url_that_cannot_be_reached_is_refused(bucket):
    bucket.forbidden = True
    with pytest.raises(
        UserError, match=r"^--workdir=gs://bucket/run cannot be reached: Forbidden: .*; check the bucket's name"
    ):
        paths.resolve("gs://bucket/run", "--workdir")


def test_checkpoints_cannot_be_on_every_file_system():
    paths.check_holds_checkpoints(paths.epath.Path("/runs"))
    paths.check_holds_checkpoints(paths.epath.Path("gs://bucket/run"))
    with pytest.raises(UserError, match="--workdir=s3://bucket/run: checkpoints cannot be on s3://"):
        paths.check_holds_checkpoints(paths.epath.Path("s3://bucket/run"), "--workdir")


def test_what_another_process_writes_is_seen_at_once(bucket):
    folder = paths.resolve("gs://bucket/run")
    (folder / "mine").write_text("")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    bucket.put("run/other", b"", {})
    assert {path.name for path in folder.iterdir()} == {"mine", "other"}
    assert (folder / "other").exists()
