"""VoxCeleb: people, videos, frames, as the training's hierarchy takes them."""

import pytest
from lookalikes import convert, jpeg, put

from data_prep.voxceleb import DATASET
from facejax.data import hierarchy, records
from facejax.errors import UserError

META_1 = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n" + "".join(
    f"id{10001 + i}\t{name}\tm\tUSA\t{split}\n"
    for i, (name, split) in enumerate([("A.J._Buckley", "dev"), ("Eartha_Kitt", "test"), ("Zach_Gilford", "dev")])
)
META_2 = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,m ,dev\nid00017 ,n000017 ,m ,test\n"


def put_frames(source, names):
    for i, name in enumerate(names):
        put(source, name, jpeg(i))


def test_voxceleb1_as_shipped(tmp_path):
    source = tmp_path / "source"
    put(source, "vox1_meta.csv", META_1)
    names = [
        "unzippedFaces/A.J._Buckley/1.6/1zcIwhmdeo4/0000375.jpg",
        "unzippedFaces/A.J._Buckley/1.6/1zcIwhmdeo4/0000450.jpg",
        "unzippedFaces/A.J._Buckley/1.6/7gWzIy6yIIk/0000025.jpg",
        "unzippedFaces/Eartha_Kitt/1.6/x6uYqmx31kE/0000001.jpg",
        "unzippedFaces/Zach_Gilford/1.6/1zcIwhmdeo4/0000001.jpg",
    ]
    put_frames(source, names)
    _, found = convert(DATASET, source, tmp_path / "out")
    train, test = found["train"], found["test"]
    assert [(r["identity"], r["video"], r["frame"]) for r in train] == [
        (0, "1zcIwhmdeo4", "0000375.jpg"),
        (0, "1zcIwhmdeo4", "0000450.jpg"),
        (0, "7gWzIy6yIIk", "0000025.jpg"),
        (1, "1zcIwhmdeo4", "0000001.jpg"),
    ]
    assert [(r["identity"], r["name"], r["file"]) for r in test] == [(2, "Eartha_Kitt", names[3])]
    assert [r["image"] for r in train] == [jpeg(0), jpeg(1), jpeg(2), jpeg(4)]
    tree = hierarchy.Hierarchy.read(records.open_split(tmp_path / "out", "train"), ("identity", "video"))
    assert len(tree) == 2 and tree.depth == 2
    assert {tree.pick(0, [video, frame]) for video in range(2) for frame in range(2)} == {0, 1, 2}
    assert tree.pick(1, [0, 0]) == 3


def test_voxceleb2_frames_by_video_and_utterance(tmp_path):
    source = tmp_path / "source"
    put(source, "vox2_meta.csv", META_2)
    put_frames(source, ["id00012/21Uxsk56VDQ/00001/7.jpg", "id00012/21Uxsk56VDQ/00002/7.jpg", "id00017/abc/1.jpg"])
    _, found = convert(DATASET, source, tmp_path / "out")
    assert [(r["video"], r["frame"]) for r in found["train"]] == [
        ("21Uxsk56VDQ", "00001/7.jpg"),
        ("21Uxsk56VDQ", "00002/7.jpg"),
    ]
    assert [(r["identity"], r["video"], r["frame"]) for r in found["test"]] == [(1, "abc", "1.jpg")]


def test_without_a_list_all_are_for_training(tmp_path):
    put_frames(tmp_path / "source", ["a/v/1.jpg", "b/1.jpg"])
    _, found = convert(DATASET, tmp_path / "source", tmp_path / "out")
    assert [(r["identity"], r["video"], r["frame"]) for r in found["train"]] == [(0, "v", "1.jpg"), (1, "", "1.jpg")]


def test_people_who_are_not_in_the_list(tmp_path):
    source = tmp_path / "source"
    put_frames(source, ["A.J._Buckley/1.6/v/1.jpg", "Nobody/1.6/v/1.jpg"])
    put(source, "vox1_meta.csv", META_1)
    with pytest.raises(UserError, match="does not list the folder Nobody"):
        convert(DATASET, source, tmp_path / "out")
    put(source, "vox1_meta.csv", META_1.replace("\t", ";"))
    with pytest.raises(UserError, match="not as shipped"):
        convert(DATASET, source, tmp_path / "out")
