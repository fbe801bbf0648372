"""RAF-DB, AffectNet, FER2013, FER+."""

import io

import numpy as np
import pytest
from converting import bomb, convert, picture, refused, skipped, write
from PIL import Image

from data_prep import affectnet, fer2013, ferplus, rafdb
from facejax.errors import UserError

# --- RAF-DB ---


def make_rafdb(root):
    labels = {"train_00001": 5, "train_00002": 1, "train_00003": 7, "test_0001": 4, "test_0002": 4}
    files = {"EmoLabel/list_patition_label.txt": "".join(f"{name}.jpg {label}\n" for name, label in labels.items())}
    for seed, name in enumerate(labels):
        files[f"Image/aligned/{name}_aligned.jpg"] = picture(seed)
        files[f"Image/original/{name}.jpg"] = picture(seed, 50, 40)
        files[f"Annotation/boundingbox/{name}_boundingbox.txt"] = "10.0 12.0 30.0 42.0 \n"
        points = "14.0\t20.0\n26.0\t20.0\n20.0\t26.0\n15.0\t33.0\n25.0\t33.0\n"
        files[f"Annotation/manual/{name}_manu_attri.txt"] = points + "1\n0\n2\n"
    return write(root, files)


def test_rafdb(tmp_path):
    source = make_rafdb(tmp_path / "basic")
    summary, records = convert(rafdb.DATASET, source)
    assert [rafdb.EXPRESSIONS[record["expression"]] for record in records["train"]] == [
        "sadness",
        "surprise",
        "neutral",
    ]
    assert summary["test"]["counts"]["expression"]["happiness"] == 2 == summary["test"]["records"]
    for split in records.values():
        for record in split:
            assert record["image"] == (source / record["file"]).read_bytes()
    assert records["test"][1]["file"] == "Image/aligned/test_0002_aligned.jpg"


def test_rafdb_original_images(tmp_path):
    source = make_rafdb(tmp_path / "basic")
    _, records = convert(rafdb.DATASET, source, "--images=original", "--crop=0")
    assert Image.open(io.BytesIO(records["train"][0]["image"])).size == (20, 30)
    (source / "Annotation/boundingbox/train_00002_boundingbox.txt").write_text("1 2 three 4\n")
    summary, _ = convert(rafdb.DATASET, source, "--images=original", "--crop=0")
    assert "no box" in skipped(summary["train"])["Image/original/train_00002.jpg"]
    (source / "Annotation/manual/test_0001_manu_attri.txt").write_text("not points\n")
    summary, records = convert(rafdb.DATASET, source, "--images=original", "--align")
    assert Image.open(io.BytesIO(records["train"][0]["image"])).size == (112, 112)
    assert "five points" in skipped(summary["test"])["Image/original/test_0001.jpg"]


def test_rafdb_bad_entries(tmp_path, capsys):
    source = make_rafdb(tmp_path / "basic")
    with open(source / "EmoLabel/list_patition_label.txt", "a") as file:
        file.write("train_00001.jpg 5\ntrain_zéro 1.jpg 0\ntrain_eight.jpg 8\ntrain_word.jpg happy\ntrain_gone.jpg 2\n")
        file.write("train_/../../../../etc/passwd 2\n")
    (source / "Image/aligned/train_00002_aligned.jpg").write_bytes(b"")
    summary, _ = convert(rafdb.DATASET, source)
    assert summary["train"]["records"] == 2
    reasons = skipped(summary["train"])
    assert "second time" in reasons["Image/aligned/train_00001_aligned.jpg"]
    assert "out of range" in reasons["train_zéro 1.jpg"]
    assert "out of range" in reasons["Image/aligned/train_eight_aligned.jpg"]
    assert "happy" in reasons["Image/aligned/train_word_aligned.jpg"]
    assert "No such file" in reasons["Image/aligned/train_gone_aligned.jpg"]
    assert "empty" in reasons["Image/aligned/train_00002_aligned.jpg"]
    assert any("passwd" in where and "refused" in reason for where, reason in reasons.items())
    assert "listed a second time" in refused(rafdb.DATASET, source, "--strict", capsys=capsys)
    (source / "EmoLabel/list_patition_label.txt").unlink()
    assert "lacks EmoLabel/list_patition_label.txt" in refused(rafdb.DATASET, source, capsys=capsys)


def test_names_with_spaces_and_letters_beyond_ascii(tmp_path):
    name = "train_Zoë à la plage"
    source = write(
        tmp_path / "basic",
        {
            "EmoLabel/list_patition_label.txt": f"{name}.jpg 3\ntest_1.jpg 1\n",
            f"Image/aligned/{name}_aligned.jpg": picture(0),
            "Image/aligned/test_1_aligned.jpg": picture(1),
        },
    )
    _, records = convert(rafdb.DATASET, source)
    assert records["train"][0]["file"] == f"Image/aligned/{name}_aligned.jpg"
    assert records["train"][0]["expression"] == 2


# --- AffectNet ---


def npy(value) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def landmarks(seed):
    return np.random.default_rng(seed).uniform(0, 20, (68, 2)).round(2)


AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
)


def affectnet_row(name, seed, expression):
    points = ";".join(f"{value:.2f}" for value in landmarks(seed).ravel())
    return f"{name},2,3,14,18,{points},{expression},-0.25,0.5\n"


def make_affectnet_lists(root):
    train = [("1/a b.jpg", 0), ("1/ü.jpg", 7), ("2/c.png", 6), ("2/none.jpg", 8), ("2/noface.jpg", 10)]
    files = {
        "training.csv": AFFECTNET_HEADER + "".join(affectnet_row(name, i, e) for i, (name, e) in enumerate(train)),
        "validation.csv": AFFECTNET_HEADER + affectnet_row("3/d.jpg", 9, 3),
        "Manually_Annotated_Images/3/d.jpg": picture(9),
    }
    for seed, (name, _) in enumerate(train):
        form = "PNG" if name.endswith("png") else "JPEG"
        files[f"Manually_Annotated_Images/{name}"] = picture(seed, form=form)
    return write(root, files)


def test_affectnet_lists(tmp_path):
    source = make_affectnet_lists(tmp_path / "affectnet")
    summary, records = convert(affectnet.DATASET, source, "--classes=8")
    assert [record["expression"] for record in records["train"]] == [0, 7, 6]
    assert summary["train"]["counts"]["expression"]["contempt"] == 1 and not summary["train"]["skipped"]
    (record,) = records["validation"]
    assert record["image"] == picture(9) and record["file"] == "Manually_Annotated_Images/3/d.jpg"
    assert record["valence"] == np.float32(-0.25) and record["arousal"] == np.float32(0.5)
    np.testing.assert_allclose(record["landmarks"], landmarks(9), atol=1e-5)
    _, cropped = convert(affectnet.DATASET, source, "--classes=7", "--crop=0")
    assert [record["expression"] for record in cropped["train"]] == [0, 6]
    assert Image.open(io.BytesIO(cropped["validation"][0]["image"])).size == (14, 18)
    np.testing.assert_allclose(cropped["validation"][0]["landmarks"], landmarks(9) - (2, 3), atol=1e-5)


def test_affectnet_rows_that_make_no_sense(tmp_path, capsys):
    source = make_affectnet_lists(tmp_path / "affectnet")
    with open(source / "training.csv", "a") as file:
        file.write(affectnet_row("1/a b.jpg", 0, 0) + affectnet_row("../../secret.jpg", 0, 0))
        file.write(affectnet_row("1/x.jpg", 0, 11) + affectnet_row("1/y.jpg", 0, "NULL"))
        file.write("1/z.jpg,NULL,NULL,NULL,NULL,NULL,1,0,0\n")
    summary, _ = convert(affectnet.DATASET, source, "--classes=8")
    reasons = {
        where.removeprefix("Manually_Annotated_Images/"): why for where, why in skipped(summary["train"]).items()
    }
    assert "second time" in reasons["1/a b.jpg"] and "refused" in reasons["../../secret.jpg"]
    assert "out of range" in reasons["1/x.jpg"] and "NULL" in reasons["1/y.jpg"] and "NULL" in reasons["1/z.jpg"]
    (source / "training.csv").write_text("a,b\n1,2\n")
    assert "lacks the column subDirectory_filePath" in refused(affectnet.DATASET, source, "--classes=8", capsys=capsys)


def test_affectnet_cut_out_faces(tmp_path):
    files = {}
    for folder, expressions in {"train_set": [1, 7], "val_set": [4]}.items():
        for i, expression in enumerate(expressions):
            files[f"{folder}/images/{i}.jpg"] = picture(i)
            parts = {"exp": np.array(str(expression)), "val": np.array("0.5"), "aro": np.array(-0.75)}
            for part, value in {**parts, "lnd": landmarks(i).ravel()}.items():
                files[f"{folder}/annotations/{i}_{part}.npy"] = npy(value)
    files["train_set/images/2.jpg"] = picture(2)
    for part in ("exp", "val", "aro", "lnd"):  # a pickle: not read
        files[f"train_set/annotations/2_{part}.npy"] = npy(np.array([{}], object))
    files["train_set/images/3.jpg"] = picture(3)
    archive = io.BytesIO()
    np.savez(archive, a=1)
    files["train_set/images/4.jpg"] = picture(4)
    files["train_set/annotations/4_exp.npy"] = archive.getvalue()
    source = write(tmp_path / "affectnet", files)
    summary, records = convert(affectnet.DATASET, source, "--classes=8")
    assert [record["expression"] for record in records["train"]] == [1, 7]
    record = records["validation"][0]
    assert (record["expression"], record["valence"], record["arousal"]) == (4, 0.5, -0.75)
    np.testing.assert_allclose(record["landmarks"], landmarks(0), atol=1e-5)
    reasons = skipped(summary["train"])
    assert "magic" in reasons["train_set/images/4.jpg"]
    assert "allow_pickle" in reasons["train_set/images/2.jpg"] and "No such file" in reasons["train_set/images/3.jpg"]


# --- FER2013 and FER+ ---


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)


def text(array):
    return " ".join(map(str, array.ravel()))


def make_fer(root):
    rows = [(0, "Training"), (6, "Training"), (3, "PublicTest"), (5, "PrivateTest"), (2, "PrivateTest")]
    lines = [f"{label},{text(pixels(i))},{usage}\n" for i, (label, usage) in enumerate(rows)]
    votes = [
        "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0",  # 4 of 9: no majority
        "Training,fer0000001.png,6,0,1,1,0,1,0,0,1,0",  # 6 of 6
        "PublicTest,fer0000002.png,0,0,0,0,0,0,0,8,2,0",
        "PrivateTest,,0,0,0,0,0,0,0,0,0,10",
        "PrivateTest,fer0000003.png,0,5,5,0,0,0,0,0,0,0",  # exactly half
    ]
    columns = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    extra = "PrivateTest,fer0000004.png,0,1,0,0,0,0,7,0,2,0\n"
    lines.append(f"2,{text(pixels(5))},PrivateTest\n")
    files = {"fer2013.csv": "emotion,pixels,Usage\n" + "".join(lines)}
    return write(root, {**files, "fer2013new.csv": columns + "\n".join(votes) + "\n" + extra})


def test_fer2013(tmp_path):
    summary, records = convert(fer2013.DATASET, make_fer(tmp_path / "fer"))
    assert {split: len(part) for split, part in records.items()} == {"train": 2, "validation": 1, "test": 3}
    assert [fer2013.EXPRESSIONS[record["expression"]] for record in records["test"]] == ["surprise", "fear", "fear"]
    for i, record in enumerate(records["train"] + records["validation"] + records["test"]):
        image = np.asarray(Image.open(io.BytesIO(record["image"])))
        np.testing.assert_array_equal(image, np.repeat(pixels(i)[:, :, None], 3, 2))
    assert summary["train"]["counts"]["expression"]["neutral"] == 1


def test_fer2013_with_spaces_in_the_header(tmp_path):
    rows = "".join(f"{i}, {usage}, {text(pixels(i))}\n" for i, usage in enumerate(fer2013.SPLITS.values()))
    source = write(tmp_path / "fer", {"icml_face_data.csv": "emotion, Usage, pixels\n" + rows})
    _, records = convert(fer2013.DATASET, source)
    assert [records[split][0]["expression"] for split in ("train", "validation", "test")] == [0, 1, 2]


def test_fer2013_rows_that_make_no_sense(tmp_path, capsys):
    source = make_fer(tmp_path / "fer")
    with open(source / "fer2013.csv", "a") as file:
        file.write(f"7,{text(pixels(9))},Training\n1,1 2 3,Training\n")
        file.write(f"1,{text(pixels(9).astype(int) + 200)},Training\n1,{text(-pixels(9).astype(int))},Training\n")
    summary, _ = convert(fer2013.DATASET, source)
    assert summary["train"]["records"] == 2
    assert [item["reason"].split(",")[0] for item in summary["train"]["skipped"]] == [
        "expression 7 is out of range",
        "has 3 pixels",
        "has a pixel of 455",
        "has 2304 pixels",
    ]
    (source / "fer2013.csv").write_text(f"emotion,pixels,Usage\n1,{text(pixels(0))},Test\n")
    assert "the Usage 'Test'" in refused(fer2013.DATASET, source, capsys=capsys)


def test_ferplus(tmp_path, capsys):
    source = make_fer(tmp_path / "fer")
    summary, records = convert(ferplus.DATASET, source)
    assert [record["file"] for record in records["train"]] == ["fer0000001.png"]
    assert ferplus.EXPRESSIONS[records["train"][0]["expression"]] == "neutral"
    assert ferplus.EXPRESSIONS[records["validation"][0]["expression"]] == "contempt"
    assert ferplus.EXPRESSIONS[records["test"][0]["expression"]] == "fear" and len(records["test"]) == 1
    np.testing.assert_array_equal(records["train"][0]["votes"], [6, 0, 1, 1, 0, 1, 0, 0, 1, 0])
    image = np.asarray(Image.open(io.BytesIO(records["test"][0]["image"])))[:, :, 0]
    np.testing.assert_array_equal(image, pixels(5))
    assert "test: 2 images without a majority" in capsys.readouterr().err
    assert not any(part["skipped"] for part in summary.values())


@pytest.mark.parametrize("seed", range(3))
def test_majority_against_plain_counting(seed):
    for votes in np.random.default_rng(seed).multinomial(10, np.random.default_rng(seed).dirichlet([0.5] * 10), 50):
        kept = [vote if vote > 1 else 0 for vote in votes]
        expected = [i for i in range(8) if kept[i] > sum(kept) - kept[i]]
        assert ferplus.majority(votes) == (expected[0] if expected else None)


def test_ferplus_rows_that_do_not_belong_together(tmp_path, capsys):
    source = make_fer(tmp_path / "fer")
    lines = (source / "fer2013new.csv").read_text().splitlines()
    (source / "fer2013new.csv").write_text("\n".join([lines[0], *lines[2:]]))
    assert "row for row" in refused(ferplus.DATASET, source, capsys=capsys)
    (source / "fer2013new.csv").write_text("\n".join([*lines, lines[-1]]))
    assert "more rows" in refused(ferplus.DATASET, source, capsys=capsys)
    (source / "fer2013new.csv").unlink()
    assert "lacks fer2013new.csv" in refused(ferplus.DATASET, source, capsys=capsys)


def test_a_decompression_bomb_is_refused(tmp_path):
    source = make_rafdb(tmp_path / "basic")
    (source / "Image/aligned/train_00001_aligned.jpg").write_bytes(bomb())
    summary, _ = convert(rafdb.DATASET, source)
    assert "pixels exceed the limit" in skipped(summary["train"])["Image/aligned/train_00001_aligned.jpg"]
    with pytest.raises(UserError, match="pixels exceed the limit"):
        convert(rafdb.DATASET, source, "--strict")
