"""LFW, CALFW, CPLFW, InsightFace's .bin files: one convention, and the protocol on top of it."""

import io
import pickle

import numpy as np
import pytest
from converting import bomb, convert, picture, refused, skipped, write
from PIL import Image

from data_prep import calfw, cplfw, insightface_bin, lfw
from data_prep.formats import image_pairs
from facejax.data import images
from facejax.errors import UserError
from facejax.evaluation import verification


def test_the_protocol_reads_what_is_written(tmp_path):
    rng = np.random.default_rng(0)
    same = rng.integers(0, 2, 40)
    faces = [picture(2 * i + (j and not same[i])) for i in range(40) for j in range(2)]
    write(tmp_path / "bins", {"lfw.bin": pickle.dumps((faces, [bool(value) for value in same]))})
    _, records = convert(insightface_bin.DATASET, tmp_path / "bins")
    labels = np.array([record["same"] for record in records["lfw"]])
    np.testing.assert_array_equal(labels[0::2], same)
    np.testing.assert_array_equal(labels[1::2], same)
    features = [images.decode(record["image"]).mean((0, 1)) - 127 for record in records["lfw"]]
    assert verification.verify_pairs(features, labels[0::2]).accuracy == 1


# --- LFW ---


def make_lfw(root, folds=2, each=2, folder="lfw"):
    lines, files = [f"{folds}\t{each}"], {}
    for fold in range(folds):
        for i in range(each):
            one, two = f"Ann_{fold}{i}", f"Bob_{fold}{i}"
            lines.append(f"{one}\t1\t12")
            for name in (f"{one}/{one}_0001.jpg", f"{one}/{one}_0012.jpg", f"{two}/{two}_0003.jpg"):
                files[f"{folder}/{name}"] = picture(len(files))
        lines += [f"Ann_{fold}{i}\t1\tBob_{fold}{i}\t3" for i in range(each)]
    return write(root, {**files, "pairs.txt": "\n".join(lines) + "\n"})


def test_lfw(tmp_path):
    source = make_lfw(tmp_path / "LFW")
    summary, records = convert(lfw.DATASET, source)
    assert [record["same"] for record in records["test"]] == [1, 1, 1, 1, 0, 0, 0, 0] * 2
    assert [record["file"] for record in records["test"][:6]] == [
        "lfw/Ann_00/Ann_00_0001.jpg (pair 0)",
        "lfw/Ann_00/Ann_00_0012.jpg (pair 0)",
        "lfw/Ann_01/Ann_01_0001.jpg (pair 1)",
        "lfw/Ann_01/Ann_01_0012.jpg (pair 1)",
        "lfw/Ann_00/Ann_00_0001.jpg (pair 2)",
        "lfw/Bob_00/Bob_00_0003.jpg (pair 2)",
    ]
    for record in records["test"]:
        assert record["image"] == (source / record["file"].split(" (")[0]).read_bytes()
    assert summary["test"]["counts"]["same"] == {"different": 8, "same": 8}


def test_lfw_both_of_a_pair_or_none(tmp_path):
    source = make_lfw(tmp_path / "LFW", folder="lfw-deepfunneled")
    (source / "lfw-deepfunneled/Bob_01/Bob_01_0003.jpg").unlink()
    (source / "lfw-deepfunneled/Ann_10/Ann_10_0012.jpg").write_bytes(picture(1)[:-30])
    summary, records = convert(lfw.DATASET, source)
    assert [record["same"] for record in records["test"]] == [1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0]
    assert summary["test"]["counts"]["same"] == {"different": 6, "same": 6}
    reasons = skipped(summary["test"])
    assert len(reasons) == 4
    assert "No such file" in reasons["lfw-deepfunneled/Bob_01/Bob_01_0003.jpg (pair 3)"]
    other = reasons["lfw-deepfunneled/Ann_01/Ann_01_0001.jpg (pair 3)"]
    assert "the other image of its pair, lfw-deepfunneled/Bob_01/Bob_01_0003.jpg: No such file" in other


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line"),
        ("Ann\t1\t2\n", "first line"),
        ("1\t1\nAnn\t1\t2\n", "1 pairs, but its first line says 2"),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tBob\n", "'Ann 1 Bob'"),
        ("1\t1\nAnn\t1\t2\nAnn\tone\tBob\t2\n", "two names with a number each"),
    ],
)
def test_lfw_lists_that_make_no_sense(tmp_path, capsys, text, reason):
    source = make_lfw(tmp_path / "LFW")
    (source / "pairs.txt").write_text(text)
    assert reason in refused(lfw.DATASET, source, capsys=capsys)


def test_lfw_view_1_and_names_with_spaces_and_letters_beyond_ascii(tmp_path):
    files = {f"lfw/José María/José María_{i:04d}.jpg": picture(i) for i in (1, 2)}
    source = write(tmp_path / "LFW", {**files, "lfw/B/B_0001.jpg": picture(3)})
    write(source, {"pairsDevTest.txt": "1\nJosé María\t1\t2\nJosé María\t1\tB\t1\n"})
    _, records = convert(lfw.DATASET, source, "--pairs=pairsDevTest.txt")
    assert records["test"][0]["file"] == "lfw/José María/José María_0001.jpg (pair 0)"
    assert [record["same"] for record in records["test"]] == [1, 1, 0, 0]


def test_lists_do_not_lead_out_of_the_source(tmp_path, capsys):
    source = make_lfw(tmp_path / "LFW")
    write(tmp_path / "secret", {"secret_0001.jpg": picture(0), "secret_0002.jpg": picture(0)})
    (source / "pairs.txt").write_text("1\t1\n../../secret/secret\t1\t2\nAnn_00\t1\tBob_00\t3\n")
    summary, records = convert(lfw.DATASET, source)
    assert len(records["test"]) == 2 and all("refused" in reason for reason in skipped(summary["test"]).values())
    assert "refused" in refused(lfw.DATASET, source, "--pairs=../secret/secret_0001.jpg", capsys=capsys)


# --- CALFW and CPLFW ---


def make_two_lines(root, which, tokens):
    """20 pairs of each kind, all of one person first, as both lists have them."""
    files, lines = {}, []
    for i in range(40):
        token = tokens(i) if i < 20 else 0
        for j in (1, 2):
            name = f"Person {i}_{j:04d}.jpg"
            files[f"aligned images/{name}"] = picture(2 * i + j)
            files[f"images/{name}"] = picture(2 * i + j, 60, 50)
            points = "15.0 22.0\n35.0 22.0\n25.0 30.0\n18.0 40.0\n32.0 40.0\n"
            files[f"{which[:2]}_landmarks/Person {i}_{j:04d}_5loc_attri.txt"] = points
            lines.append(f"{name} {token}\n")
    return write(root, {**files, f"pairs_{which}.txt": "".join(lines)})


@pytest.mark.parametrize(
    ("dataset", "which", "tokens"),
    [(calfw.DATASET, "CALFW", lambda i: i // 2 + 1), (cplfw.DATASET, "CPLFW", lambda i: 1)],
)
def test_calfw_and_cplfw(tmp_path, dataset, which, tokens):
    source = make_two_lines(tmp_path / which, which, tokens)
    _, records = convert(dataset, source)
    assert [record["same"] for record in records["test"]] == [1, 1, 1, 1, 0, 0, 0, 0] * 10  # ten folds
    names = [record["file"].split("/")[1].split("_")[0] for record in records["test"][0::2]]
    assert names[:8] == [f"Person {i}" for i in (0, 1, 20, 21, 2, 3, 22, 23)]
    assert len(set(names)) == 40
    for record in records["test"]:
        assert record["image"] == (source / record["file"].split(" (")[0]).read_bytes()
    _, aligned = convert(dataset, source, "--images=original", "--align")
    assert Image.open(io.BytesIO(aligned["test"][5]["image"])).size == (112, 112)


def test_calfw_without_points(tmp_path, capsys):
    source = make_two_lines(tmp_path / "CALFW", "CALFW", lambda i: i // 2 + 1)
    (source / "CA_landmarks/Person 3_0002_5loc_attri.txt").write_text("1 1\n" * 5)
    (source / "CA_landmarks/Person 4_0001_5loc_attri.txt").unlink()
    summary, records = convert(calfw.DATASET, source, "--images=original", "--align")
    assert len(records["test"]) == 76
    assert len(summary["test"]["skipped"]) == 4
    path = source / "pairs_CALFW.txt"
    text = path.read_text()
    path.write_text(text.replace("Person 0_0002.jpg 1", "Person 0_0002.jpg 2"))
    assert "line 1: the two lines of a pair" in refused(calfw.DATASET, source, capsys=capsys)
    path.write_text(text + "odd.jpg 0\n")
    assert "two lines per pair" in refused(calfw.DATASET, source, capsys=capsys)


def test_folds_of_the_published_size(tmp_path):
    path = tmp_path / "pairs.txt"
    tokens = [fold for fold in range(1, 11) for _ in range(300)] + [0] * 3000
    path.write_text("".join(f"a{i}.jpg {token}\nb{i}.jpg {token}\n" for i, token in enumerate(tokens)))
    pairs = image_pairs.read_two_line_pairs(path)
    same = np.array([pair[2] for pair in pairs]).reshape(10, 600)
    assert (same.sum(1) == 300).all()
    for fold in range(10):  # the list's own folds of the pairs of one person
        assert {tokens[int(one[1:-4])] for one, _, is_same in pairs[600 * fold : 600 * fold + 600] if is_same} == {
            fold + 1
        }


# --- .bin ---


def python_2(faces, same) -> bytes:
    """A pickle as Python 2 wrote them: protocol 2, text that is bytes."""
    body = b"".join(b"T" + len(face).to_bytes(4, "little") + face for face in faces)
    flags = b"".join(b"\x88" if value else b"\x89" for value in same)
    return b"\x80\x02](" + body + b"e](" + flags + b"e\x86."


FORMS = {
    "python 3": lambda faces, same: pickle.dumps((faces, same)),
    "protocol 2": lambda faces, same: pickle.dumps((faces, same), 2),
    "python 2": python_2,
    "arrays": lambda faces, same: pickle.dumps(([np.frombuffer(f, np.uint8) for f in faces], np.array(same)), 4),
}


@pytest.mark.parametrize("form", FORMS)
def test_insightface_bin(tmp_path, form):
    faces, same = [picture(i, 112, 112) for i in range(8)], [True, False, True, False]
    files = {
        "lfw.bin": FORMS[form](faces, same),
        "cfp_fp.bin": FORMS[form](faces[:4], same[:2]),
        "property": "1,112,112",
    }
    source = write(tmp_path / "faces", files)
    summary, records = convert(insightface_bin.DATASET, source)
    assert list(records) == ["cfp_fp", "lfw"]
    assert [record["image"] for record in records["lfw"]] == faces
    assert [record["same"] for record in records["lfw"]] == [1, 1, 0, 0, 1, 1, 0, 0]
    assert records["cfp_fp"][3]["file"] == "cfp_fp.bin, image 3 (pair 1)"
    assert list(convert(insightface_bin.DATASET, source, "--split=lfw")[1]) == ["lfw"]
    assert summary["lfw"]["counts"]["same"] == {"different": 4, "same": 4}


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_bin_runs_nothing(tmp_path, capsys, protocol):
    faces = [picture(0), Attack(tmp_path / "made")]
    source = write(tmp_path / "faces", {"lfw.bin": pickle.dumps((faces, [True]), protocol)})
    assert "asks for" in refused(insightface_bin.DATASET, source, capsys=capsys)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [[picture(0)], ([picture(0)] * 3, [True]), ([picture(0)] * 2, [2]), ([picture(0)] * 2, ["yes"]), ([1, 2], [True]),
     (["a", "b"], [True]), ([np.zeros(3), np.zeros(3)], [True]), {"a": 1}, 7],
)  # fmt: skip
def test_bins_of_something_else(tmp_path, capsys, content):
    source = write(tmp_path / "faces", {"lfw.bin": pickle.dumps(content)})
    assert "lfw.bin is not a verification set of InsightFace" in refused(insightface_bin.DATASET, source, capsys=capsys)


def test_damaged_images_in_a_bin(tmp_path, capsys):
    faces = [picture(i) for i in range(8)]
    faces[1], faces[4], faces[6] = bomb(), b"", faces[6][:100]
    source = write(tmp_path / "faces", {"lfw.bin": pickle.dumps((faces, [True] * 4))})
    summary, records = convert(insightface_bin.DATASET, source)
    assert [record["image"] for record in records["lfw"]] == faces[2:4]
    reasons = skipped(summary["lfw"])
    assert "pixels exceed the limit" in reasons["lfw.bin, image 1 (pair 0)"]
    assert "empty" in reasons["lfw.bin, image 4 (pair 2)"] and len(reasons) == 6
    with pytest.raises(UserError, match="pixels exceed the limit"):
        convert(insightface_bin.DATASET, source, "--strict")
    (source / "lfw.bin").write_bytes((source / "lfw.bin").read_bytes()[:-20])
    assert "damaged" in refused(insightface_bin.DATASET, source, capsys=capsys)
    (source / "lfw.bin").unlink()
    assert "has no .bin file" in refused(insightface_bin.DATASET, source, capsys=capsys)
