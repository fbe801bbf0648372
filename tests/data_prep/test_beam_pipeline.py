"""A conversion by Beam's local runner gives what the conversion without Beam gives."""

import pytest
from lookalikes import arguments, files, jpeg, put

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


def test_what_a_worker_refuses_is_one_line(source, tmp_path):
    options = ["--strict", "--beam=--runner=DirectRunner"]
    for i in range(30):  # the first and the last, which are read to plan the shards, are whole
        put(source, f"p0/{i:02}.jpg", jpeg(i))
    with pytest.raises(UserError, match=r"^p0/bad\.jpg: the file is empty$"):
        conversion.convert(DATASET, arguments(DATASET, source, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()
