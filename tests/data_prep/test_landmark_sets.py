"""CelebA, 300W, WFLW, and the files with points."""

import io

import numpy as np
import pytest
from converting import convert, picture, refused, skipped, write
from PIL import Image

from data_prep import celeba, w300, wflw
from data_prep.formats import point_files


def points(seed, number=68):
    return np.random.default_rng(seed).uniform(2, 18, (number, 2)).round(3)


def pts(array) -> str:
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in array)
    return f"version: 1\nn_points:  {len(array)}\n{{\n{rows}}}\n"


# --- Files with points ---


def test_pts_count_from_one():
    np.testing.assert_allclose(point_files.read_pts(pts(points(0)).encode()), points(0) - 1, atol=1e-5)
    windows = pts(points(0, 5)).replace("\n", "\r\n").rstrip().encode()
    np.testing.assert_allclose(point_files.read_pts(windows, 5), points(0, 5) - 1, atol=1e-5)


@pytest.mark.parametrize(
    "data",
    [b"", b"version: 1\nn_points: 68\n{\n1 2\n}", pts(points(0, 5)).encode()[:-3], pts(points(0, 6)).encode(),
     pts(points(0, 5)).replace("1", "x").encode(), pts(points(0, 5) * np.inf).encode(), b"\xff\xfe" * 40],
)  # fmt: skip
def test_pts_that_are_none(data):
    with pytest.raises(ValueError):
        point_files.read_pts(data, 5)


def test_rows():
    rows = "".join(f"{x} {y}\n" for x, y in points(1, 5))
    np.testing.assert_allclose(point_files.read_rows(f"{rows}0\n2\n".encode(), 5), points(1, 5), atol=1e-5)
    for bad in (b"1 2\n3 4\n", b"1 2 3\n" * 5, b"1 nan\n" * 5):
        with pytest.raises(ValueError):
            point_files.read_rows(bad, 5)


# --- CelebA ---


def make_celeba(root, folders=("Anno/", "Eval/", "Img/")):
    anno, partition, img = folders
    names = [f"{number:06d}.jpg" for number in range(1, 7)]
    rng = np.random.default_rng(0)
    attributes, landmarks = rng.choice([-1, 1], (6, 40)), rng.integers(10, 100, (6, 10))
    files = {f"{img}img_align_celeba/{name}": picture(i, 218, 178) for i, name in enumerate(names)}
    files[f"{anno}list_attr_celeba.txt"] = f"6\n{' '.join(celeba.ATTRIBUTES)} \n" + "".join(
        f"{name} {' '.join(f'{value:2d}' for value in row)}\n" for name, row in zip(names, attributes, strict=True)
    )
    heading = (
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    )
    files[f"{anno}list_landmarks_align_celeba.txt"] = f"6\n{heading}\n" + "".join(
        f"{name} {'  '.join(map(str, row))}\n" for name, row in zip(names, landmarks, strict=True)
    )
    files[f"{partition}list_eval_partition.txt"] = "".join(
        f"{name} {part}\n" for name, part in zip(names, (0, 0, 1, 2, 2, 2), strict=True)
    )
    files[f"{anno}identity_CelebA.txt"] = "".join(f"{name} {2880 + i % 2}\n" for i, name in enumerate(names))
    return write(root, files), (attributes > 0).astype(int), landmarks.reshape(6, 5, 2)


def test_celeba(tmp_path):
    source, attributes, landmarks = make_celeba(tmp_path / "CelebA")
    summary, records = convert(celeba.DATASET, source)
    assert {split: len(part) for split, part in records.items()} == {"train": 2, "validation": 1, "test": 3}
    everything = [record for part in records.values() for record in part]
    np.testing.assert_array_equal([record["attributes"] for record in everything], attributes)
    np.testing.assert_array_equal([record["landmarks"] for record in everything], landmarks)
    assert [record["identity"] for record in everything] == [2880, 2881] * 3
    for record in everything:
        assert record["image"] == (source / record["file"]).read_bytes()
    assert summary["train"]["counts"]["identity"] == 2


def test_celeba_all_in_one_folder_and_no_identities(tmp_path):
    source, attributes, _ = make_celeba(tmp_path / "CelebA", ("", "", ""))
    (source / "identity_CelebA.txt").unlink()
    _, records = convert(celeba.DATASET, source, "--align")
    assert "identity" not in records["train"][0]
    assert Image.open(io.BytesIO(records["train"][0]["image"])).size == (112, 112)
    np.testing.assert_array_equal(records["validation"][0]["attributes"], attributes[2])


def test_celeba_lists_that_make_no_sense(tmp_path, capsys):
    source, *_ = make_celeba(tmp_path / "CelebA")
    lists = {path.name: path for path in source.glob("*/*.txt")}
    for name, line in {"list_attr_celeba.txt": "../x.jpg" + " 1" * 40, "list_eval_partition.txt": "../x.jpg 0"}.items():
        with open(lists[name], "a") as file:
            file.write(f"{line}\n")
    with open(lists["list_eval_partition.txt"], "a") as file:
        file.write("000001.jpg 0\nnot in the lists.jpg 0\n")
    summary, _ = convert(celeba.DATASET, source)
    reasons = skipped(summary["train"])
    assert "landmarks" in reasons["../x.jpg"] and "attributes" in reasons["not in the lists.jpg"]
    assert "second time" in reasons["Img/img_align_celeba/000001.jpg"]
    text = lists["list_attr_celeba.txt"].read_text()
    lists["list_attr_celeba.txt"].write_text(text.replace(" 1 ", " 7 ", 1))
    assert "neither 1 nor -1" in refused(celeba.DATASET, source, "--strict", capsys=capsys)
    lists["list_attr_celeba.txt"].write_text(text.replace("Bald", "Hairless"))
    assert "does not name the 40 columns" in refused(celeba.DATASET, source, capsys=capsys)
    lists["list_attr_celeba.txt"].write_text(text[: len(text) // 2] + " x\n")
    assert "is not a name and 40 whole numbers" in refused(celeba.DATASET, source, capsys=capsys)
    lists["list_attr_celeba.txt"].write_text(text)
    lists["list_eval_partition.txt"].write_text("000001.jpg 3\n")
    assert "'3' is not a split" in refused(celeba.DATASET, source, capsys=capsys)


# --- 300W ---

W300 = ["afw/1051618982_1.jpg", "helen/trainset/100032540_1.jpg", "lfpw/trainset/image_0001.png",
        "helen/testset/296814969_3.jpg", "lfpw/testset/image_0001.png", "lfpw/testset/image_0002.png",
        "ibug/image_003_1.jpg", "ibug/image_092 _01.jpg"]  # fmt: skip


def make_w300(root):
    files = {}
    for seed, name in enumerate(W300):
        files[name] = picture(seed, form="PNG" if name.endswith("png") else "JPEG")
        files[name.rsplit(".", 1)[0] + ".pts"] = pts(points(seed))
    return write(root, files)


def test_w300(tmp_path):
    source = make_w300(tmp_path / "300W")
    write(source, {"afw/1051618982_1_mirror.jpg": picture(0), "afw/1051618982_1_mirror.pts": pts(points(0))})
    summary, records = convert(w300.DATASET, source)
    assert summary["test"]["counts"]["subset"] == {"train": 0, "common": 3, "challenging": 2}
    everything = {record["file"]: record for part in records.values() for record in part}
    assert list(everything) == W300
    for seed, (name, record) in enumerate(everything.items()):
        assert record["image"] == (source / name).read_bytes()
        np.testing.assert_allclose(record["landmarks"], points(seed) - 1, atol=1e-4)
    assert len(records["train"]) == 3


def test_w300_crop_moves_the_points(tmp_path):
    _, records = convert(w300.DATASET, make_w300(tmp_path / "300W"), "--crop=0")
    record, expected = records["train"][0], points(0) - 1
    np.testing.assert_allclose(record["landmarks"], expected - np.floor(expected.min(0)), atol=1e-4)


def test_w300_without_points(tmp_path, capsys):
    source = make_w300(tmp_path / "300W")
    (source / "ibug/image_003_1.pts").write_text(pts(points(0, 67)))
    (source / "afw/1051618982_1.pts").unlink()
    (source / "lfpw/testset/image_0001.png").write_bytes(picture(4, form="PNG")[:-40])
    summary, _ = convert(w300.DATASET, source)
    assert "67 points" in skipped(summary["test"])["ibug/image_003_1.jpg"]
    assert "lfpw/testset/image_0001.png" in skipped(summary["test"])
    assert "1051618982_1.pts: No such file" in skipped(summary["train"])["afw/1051618982_1.jpg"]
    for path in (source / "ibug").iterdir():
        path.unlink()
    (source / "ibug").rmdir()
    assert "ibug is missing" in refused(w300.DATASET, source, capsys=capsys)


# --- WFLW ---


def wflw_line(seed, name, flags="010001", box=(1, 2, 19, 20)):
    numbers = " ".join(f"{value:.6f}" for value in points(seed, 98).ravel())
    return f"{numbers} {' '.join(map(str, box))} {' '.join(flags)} {name}\n"


def make_wflw(root):
    folder = "WFLW_annotations/list_98pt_rect_attr_train_test"
    one, two = "0--Parade/0_Parade_a_1.jpg", "1--Hand shaking/b_2.jpg"
    train = wflw_line(0, one) + wflw_line(1, one, box=(3, 3, 9, 9)) + wflw_line(2, two, "000000")
    return write(
        root,
        {
            f"{folder}/list_98pt_rect_attr_train.txt": train,
            f"{folder}/list_98pt_rect_attr_test.txt": wflw_line(3, two, "111111"),
            f"WFLW_images/{one}": picture(0),
            f"WFLW_images/{two}": picture(1),
        },
    )


def test_wflw(tmp_path):
    source = make_wflw(tmp_path / "WFLW")
    _, records = convert(wflw.DATASET, source)
    assert [record["file"].rpartition("/")[2] for record in records["train"]] == ["0_Parade_a_1.jpg"] * 2 + ["b_2.jpg"]
    for seed, record in enumerate(records["train"] + records["test"]):
        np.testing.assert_allclose(record["landmarks"], points(seed, 98), atol=1e-5)
        assert record["image"] == (source / record["file"]).read_bytes()
    np.testing.assert_array_equal(records["train"][0]["subsets"], [0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(records["train"][1]["box"], [3, 3, 9, 9])
    _, cropped = convert(wflw.DATASET, source, "--crop=0")
    np.testing.assert_allclose(cropped["train"][1]["box"], [0, 0, 6, 6])
    np.testing.assert_allclose(cropped["train"][1]["landmarks"], points(1, 98) - 3, atol=1e-5)


def test_wflw_lines_that_make_no_sense(tmp_path, capsys):
    source = make_wflw(tmp_path / "WFLW")
    path = source / "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt"
    with open(path, "a") as file:
        file.write(
            wflw_line(3, "1--Hand shaking/b_2.jpg", "111111") + "1 2 3 a.jpg\n" + wflw_line(4, "c.jpg", "000200")
        )
        file.write(wflw_line(5, "../../c.jpg") + wflw_line(6, "d.jpg").replace(" ", " nan", 1))
    summary, _ = convert(wflw.DATASET, source)
    reasons = [item["reason"] for item in summary["test"]["skipped"]]
    assert summary["test"]["records"] == 1 and len(reasons) == 5
    assert "second time" in reasons[0] and "202 are needed" not in reasons[0]
    assert "3 numbers" in reasons[1] and "flag" in reasons[2] and "refused" in reasons[3] and reasons[4]
    path.unlink()
    assert "list_98pt_rect_attr_test.txt" in refused(wflw.DATASET, source, capsys=capsys)
