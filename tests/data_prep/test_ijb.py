import io

import numpy as np
import pytest
from converting import convert, picture, refused, skipped, write
from PIL import Image

from data_prep import ijb

# (image, template, medium), and the lists of templates
MEDIA = [(1, 1, 69544), (2, 1, 100), (3, 2, 7), (4, 2, 7), (5, 3, 8), (6, 11065, 9), (1, 11066, 69544)]
LISTS = {"C": {"gallery_G1": [(1, 50)], "gallery_G2": [(2, 51)], "probe_mixed": [(11065, 50), (3, 52), (3, 52)]}}
LISTS["B"] = {name.replace("G", "S"): rows for name, rows in LISTS["C"].items()}
PAIRS = [(1, 11065, 1), (1, 3, 0), (2, 11065, 0)]


def points(i):
    return np.array([[15, 20], [30, 20], [22, 28], [16, 36], [28, 36]]) + i / 10


def make_ijb(root, which):
    prefix = f"IJB{which}/meta/ijb{which.lower()}"
    files = {f"IJB{which}/loose_crop/{image}.jpg": picture(image, 50, 45) for image, *_ in MEDIA}
    files[f"{prefix}_face_tid_mid.txt"] = "".join(f"{image}.jpg {t} {m}\n" for image, t, m in MEDIA)
    files[f"{prefix}_name_5pts_score.txt"] = "".join(
        f"{image}.jpg {' '.join(f'{value:.3f}' for value in points(i).ravel())} {0.9 + i / 100:.3f}\n"
        for i, (image, *_) in enumerate(MEDIA)
    )
    files[f"{prefix}_template_pair_label.txt"] = "".join(f"{one} {two} {same}\n" for one, two, same in PAIRS)
    for name, rows in LISTS[which].items():
        table = "".join(f"{template},{subject},img/{template}.jpg,1.5,2,30,40\n" for template, subject in rows)
        files[f"{prefix}_1N_{name}.csv"] = f"TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X,FACE_Y,W,H\n{table}"
    return write(root, files)


@pytest.mark.parametrize("which", ["B", "C"])
def test_ijb(tmp_path, which):
    source = make_ijb(tmp_path / "IJB_release", which)
    summary, records = convert(ijb.DATASET, source, f"--set={which}")
    assert [(record["template"], record["medium"]) for record in records["test"]] == [row[1:] for row in MEDIA]
    assert [record["subject"] for record in records["test"]] == [50, 50, 51, 51, 52, 50, -1]
    roles = [ijb.ROLES[record["role"]] for record in records["test"]]
    assert roles == ["gallery_1"] * 2 + ["gallery_2"] * 2 + ["probe"] * 2 + ["none"]
    assert summary["test"]["counts"]["role"] == {"none": 1, "gallery_1": 2, "gallery_2": 2, "probe": 2}
    for i, record in enumerate(records["test"]):
        assert record["image"] == (source / record["file"]).read_bytes()
        np.testing.assert_allclose(record["landmarks"], points(i), atol=1e-4)
        assert record["detector_score"] == pytest.approx(0.9 + i / 100)
    (lists,) = tmp_path.glob("*/pairs.npz")
    with np.load(lists, allow_pickle=False) as pairs:
        assert list(zip(*(pairs[name].tolist() for name in ("first", "second", "same")), strict=True)) == [
            (1, 11065, True), (1, 3, False), (2, 11065, False),
        ]  # fmt: skip
        assert (pairs["first"].dtype, pairs["same"].dtype) == (np.int32, bool)


def test_ijb_aligned(tmp_path):
    source = make_ijb(tmp_path / "IJB_release", "C")
    _, records = convert(ijb.DATASET, source / "IJBC", "--set=C", "--align")
    template = np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    for record in records["test"]:
        assert Image.open(io.BytesIO(record["image"])).size == (112, 112)
        assert abs(record["landmarks"] - template).max() < 8  # a similarity does not make them equal


def test_ijb_images_and_lists_that_make_no_sense(tmp_path, capsys):
    source = make_ijb(tmp_path / "IJB_release", "C")
    meta = source / "IJBC/meta"
    (source / "IJBC/loose_crop/5.jpg").unlink()
    media, scores = meta / "ijbc_face_tid_mid.txt", meta / "ijbc_name_5pts_score.txt"
    texts = {path: path.read_text() for path in meta.iterdir()}
    with open(media, "a") as file:
        file.write("../../../out.jpg 5 5\n1.jpg 1 69544\n2.jpg five 1\n3.jpg 2 7\n")
    with open(scores, "a") as file:
        file.write("../../../out.jpg" + " 1 2" * 5 + " 0.5\n" + "".join(texts[scores].splitlines(True)[:2]))
        file.write("4.jpg" + " 1 2" * 5 + " 0.5\n")
    summary, records = convert(ijb.DATASET, source, "--set=C")
    reasons = [item["reason"] for item in summary["test"]["skipped"]]
    assert len(records["test"]) == 6
    for reason, expected in zip(
        reasons, ("No such file", "refused", "second time", "invalid literal", "has 4.jpg"), strict=True
    ):
        assert expected in reason
    assert any("out.jpg" in where for where in skipped(summary["test"]))

    def complains(path, text):
        path.write_text(text)
        line = refused(ijb.DATASET, source, "--set=C", capsys=capsys)
        path.write_text(texts[path])
        return line

    media.write_text(texts[media])
    scores.write_text(texts[scores])
    assert "not of the same length" in complains(scores, texts[scores] + "7.jpg" + " 1" * 11 + "\n")
    assert "words, not 3" in complains(media, "1.jpg 1\n")
    pairs = meta / "ijbc_template_pair_label.txt"
    for text in ("1 2 x\n", "1 2 3\n"):
        assert f"label.txt, line 1: '{text.strip()}' is not two templates and 0 or 1" in complains(pairs, text)
    assert "label.txt, line 2: '1 2' has 2 words, not 3" in complains(pairs, "1 2 1\n1 2\n")
    probes = meta / "ijbc_1N_probe_mixed.csv"
    assert "does not begin with a template" in complains(probes, "TEMPLATE_ID,SUBJECT_ID\nx,y\n")
    assert "two lists or two subjects" in complains(probes, "TEMPLATE_ID,SUBJECT_ID\n1,50\n")
    probes.unlink()
    assert "ijbc_1N_probe_mixed.csv" in refused(ijb.DATASET, source, "--set=C", capsys=capsys)
