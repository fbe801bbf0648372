"""A conversion by Beam's local runner gives what the conversion without Beam gives."""

import fake_mtcnn
import numpy as np
import pytest
from lookalikes import arguments, files, jpeg, png, put

from data_prep import conversion
from data_prep.image_folder import DATASET
from facejax.errors import UserError

pytest.importorskip("apache_beam")


@pytest.fixture
def source(tmp_path):
    for i in range(12):
        put(tmp_path / "source", f"p{i % 3}/{i}.jpg", jpeg(i))
    put(tmp_path / "source", "p0/bad.jpg", b"")
    return tmp_path / "source"


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_the_same_files(source, tmp_path, file_format):
    options = ["--labels=identity", f"--format={file_format}", "--shard_mb=0.003"]
    plain = conversion.convert(DATASET, arguments(DATASET, source, tmp_path / "plain", *options))
    beam = conversion.convert(DATASET, arguments(DATASET, source, tmp_path / "beam", *options, "--beam"))
    assert files(tmp_path / "beam") == files(tmp_path / "plain") and len(files(tmp_path / "beam")) > 5
    assert beam == plain and len(beam["splits"]["train"]["skipped"]) == 1


def test_faces_are_found_by_workers(tmp_path, monkeypatch):
    fake_mtcnn.install(tmp_path / "packages", monkeypatch)
    for i in range(20):
        picture = np.zeros((80, 100, 3), np.uint8)
        for face in range(i % 3):
            picture[20:60, 10 + i + 40 * face : 40 + i + 40 * face] = fake_mtcnn.COLOUR
        put(tmp_path / "source", f"{i}.png", png(picture))
    options = ["--align", "--faces=all", "--shard_mb=0.01"]
    plain, beam = (
        conversion.convert(DATASET, arguments(DATASET, tmp_path / "source", tmp_path / out, *options, *more))
        for out, more in (("plain", []), ("beam", ["--beam"]))
    )
    assert files(tmp_path / "beam") == files(tmp_path / "plain") and len(files(tmp_path / "beam")) > 5
    assert beam == plain and plain["splits"]["train"]["records"] == 7 + 2 * 6
    assert len(beam["splits"]["train"]["skipped"]) == 7


def test_what_a_worker_refuses_is_one_line(source, tmp_path):
    options = ["--strict", "--beam=--runner=DirectRunner"]
    for i in range(30):  # the first and the last, which are read to plan the shards, are whole
        put(source, f"p0/{i:02}.jpg", jpeg(i))
    with pytest.raises(UserError, match=r"^p0/bad\.jpg: the file is empty$"):
        conversion.convert(DATASET, arguments(DATASET, source, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()
