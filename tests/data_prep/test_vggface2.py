"""VGGFace2: folders of people, and the lists of boxes and points that belong to it."""

import numpy as np
import pytest
from lookalikes import convert, jpeg, pixels, png, put

from data_prep.vggface2 import DATASET
from facejax.data import images
from facejax.data.align import TEMPLATE_112
from facejax.errors import UserError

NAMES = {
    "train": ["n000002/0001_01.jpg", "n000002/0002_01.jpg", "n000003/0001_02.jpg"],
    "test": ["n000001/0001_01.jpg", "n000009/0007_01.jpg"],
}
FACE = (30, 20, 40, 50)  # x, y, width, height
POINTS = (TEMPLATE_112 * 0.5 + 10).round(3)


@pytest.fixture
def source(tmp_path):
    for split, names in NAMES.items():
        boxes = ["NAME_ID,X,Y,W,H"]
        points = ["NAME_ID," + ",".join(f"P{i}{axis}" for i in range(1, 6) for axis in "XY")]
        for i, name in enumerate(names):
            put(tmp_path / "source", f"{split}/{name}", jpeg(i, 100, 110))
            boxes.append(f'"{name[:-4]}",' + ",".join(map(str, FACE)))
            points.append(f'"{name[:-4]}",' + ",".join(map(str, POINTS.reshape(-1))))
        put(tmp_path / "source", f"bb_landmark/loose_bb_{split}.csv", "\n".join(boxes) + "\n")
        put(tmp_path / "source", f"bb_landmark/loose_landmark_{split}.csv", "\n".join(points) + "\n")
    return tmp_path / "source"


def test_people_are_numbered_through_those_for_training_first(source, tmp_path):
    summary, found = convert(DATASET, source, tmp_path / "out")
    assert {split: [r["identity"] for r in records] for split, records in found.items()} == {
        "train": [0, 0, 1],
        "test": [2, 3],
    }
    for split, names in NAMES.items():
        assert [r["file"] for r in found[split]] == [f"{split}/{name}" for name in names]
        assert [r["name"] for r in found[split]] == [name.split("/")[0] for name in names]
        assert [r["image"] for r in found[split]] == [(source / split / name).read_bytes() for name in names]
    assert summary["splits"]["train"]["counts"] == {"identity": 2}


def test_crop_to_the_box(source, tmp_path):
    put(source, "train/n000002/0001_01.jpg", png(pixels(5, 100, 110)))  # lossless, whatever its name
    put(source, "train/n000003/0099_01.jpg", jpeg(0))  # not in the list
    summary, found = convert(DATASET, source, tmp_path / "out", "--crop=0.1", "--split=train")
    np.testing.assert_array_equal(images.decode(found["train"][0]["image"]), pixels(5, 100, 110)[15:75, 26:74])
    assert summary["splits"]["train"]["skipped"] == [
        {"where": "train/n000003/0099_01.jpg", "reason": "has no box of the face to crop it to"}
    ]


def test_alignment_by_the_points(source, tmp_path):
    _, found = convert(DATASET, source, tmp_path / "out", "--align", "--lossless", "--split=train")
    aligned = images.decode(found["train"][0]["image"])
    assert aligned.shape == (112, 112, 3)
    original = images.decode((source / "train" / NAMES["train"][0]).read_bytes())
    for x, y in ((20, 20), (50, 60), (90, 30)):  # half the template's size, shifted by 10
        np.testing.assert_allclose(aligned[y, x].astype(int), original[y // 2 + 10, x // 2 + 10], atol=2)


def test_lists_that_are_missing_or_damaged(source, tmp_path):
    path = source / "bb_landmark" / "loose_bb_train.csv"
    path.write_text(path.read_text().replace("30,20", "30,?"))
    with pytest.raises(UserError, match=r"loose_bb_train\.csv.*could not convert"):
        convert(DATASET, source, tmp_path / "out", "--crop=0.1", "--split=train")
    path.unlink()
    with pytest.raises(UserError, match=r"lacks bb_landmark/loose_bb_train\.csv"):
        convert(DATASET, source, tmp_path / "out", "--crop=0.1")
    with pytest.raises(UserError, match="neither a folder train nor test"):
        convert(DATASET, source / "train", tmp_path / "out")
