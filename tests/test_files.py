import errno
import json
import os

import pytest

from facejax import files
from facejax.errors import UserError


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    files.write_json(tmp_path / "new" / "a.json", {"b": 1})
    files.write_json(tmp_path / "new" / "a.json", {"b": 2})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"b": 2}
    assert os.listdir(tmp_path / "new") == ["a.json"]


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "a").mkdir()  # nothing can be renamed to this
    with pytest.raises(OSError):
        files.write_atomically(tmp_path / "a", "b")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: No space left on device")],
)
def test_full_disk_is_one_clear_line(error):
    with (
        pytest.raises(UserError, match="no space left while writing RUN/x: free some"),
        files.named_write_errors("RUN/x"),
    ):
        raise error


def test_a_file_where_a_folder_should_be_is_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*/taken/run/x: (Not a directory|File exists); choose another"):
        files.write_atomically(tmp_path / "taken" / "run" / "x", "text")


def test_only_what_is_being_written_is_called_unwritable(tmp_path):
    inside = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x.partial"))
    with (
        pytest.raises(UserError, match=r"cannot write .*/x: Permission denied"),
        files.named_write_errors(tmp_path / "x"),
    ):
        raise inside
    source = PermissionError(errno.EACCES, "Permission denied", "/photos/1.jpg")
    with pytest.raises(PermissionError), files.named_write_errors(tmp_path / "x"):
        raise source
