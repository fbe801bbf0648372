"""CASIA-WebFace: numbered folders."""

import pytest
from lookalikes import convert, jpeg, put

from data_prep.casia_webface import DATASET

NAMES = ["0000045/001.jpg", "0000045/002.jpg", "0000099/001.jpg", "0166921/001.jpg", "6573654/003.jpg"]


@pytest.mark.parametrize("root", ["", "CASIA-WebFace/"])
def test_folders_are_people(tmp_path, root):
    for i, name in enumerate(NAMES):
        put(tmp_path / "source", root + name, jpeg(i))
    put(tmp_path / "source", f"{root}names.txt", "0000045 Elizabeth_Berkley\n")
    summary, found = convert(DATASET, tmp_path / "source", tmp_path / "out")
    assert [(r["identity"], r["file"]) for r in found["train"]] == list(
        zip([0, 0, 1, 2, 3], [root + name for name in NAMES], strict=True)
    )
    assert [r["image"] for r in found["train"]] == [jpeg(i) for i in range(5)]
    assert summary["splits"]["train"]["counts"] == {"identity": 4}
    _, found = convert(DATASET, tmp_path / "source", tmp_path / "less", "--without_lfw")
    assert [(r["identity"], r["name"]) for r in found["train"]] == [
        (0, "0000045"),
        (0, "0000045"),
        (1, "0000099"),
        (2, "6573654"),
    ]
