"""DISFA and BP4D, and frames of videos."""

import io

import cv2
import numpy as np
import pytest
import scipy.io
from converting import convert, picture, refused, skipped, write
from PIL import Image

from data_prep import bp4d, disfa
from data_prep.formats.video_frames import VideoFrame

NUM_FRAMES = 5


def shade(subject: int, frame: int) -> np.ndarray:
    """The colour, RGB, of a frame of a subject's video: apart enough to survive compression."""
    return np.array([30 * frame + 20, 7 * subject, 200 - 30 * frame])


def write_video(path, subject):
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    assert video.isOpened()
    for frame in range(1, NUM_FRAMES + 1):
        video.write(np.full((48, 64, 3), shade(subject, frame)[::-1], np.uint8))
    video.release()


# --- Videos ---


def test_frames_in_any_order(tmp_path):
    write_video(tmp_path / "a.avi", 3)
    for number in (1, 2, 5, 3, 3, 4, 1):
        frame = VideoFrame("a.avi", number)
        pixels = frame.read(tmp_path)
        assert pixels.shape == (48, 64, 3) and frame.name == f"a.avi, frame {number}"
        np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), shade(3, number), atol=6)


def test_frames_that_cannot_be_read(tmp_path):
    write_video(tmp_path / "a.avi", 3)
    (tmp_path / "b.avi").write_bytes(b"no video")
    for frame, reason in {
        VideoFrame("a.avi", 6): "ends after frame 5",
        VideoFrame("b.avi", 1): "not a video",
        VideoFrame("../a.avi", 1): "refused",
    }.items():
        with pytest.raises(ValueError, match=reason):
            frame.read(tmp_path)


# --- DISFA ---

SUBJECTS = (1, 2, 6, 3)  # two of the first fold, one of each other


def intensity(subject, unit, frame):
    return (subject + unit + frame) % 6


def points(subject, frame):
    return np.random.default_rng([subject, frame]).uniform(5, 40, (66, 2))


def make_disfa(root):
    files = {}
    for subject in SUBJECTS:
        name = f"SN{subject:03d}"
        write_video(root / f"Videos_LeftCamera/LeftVideo{name}_comp.avi", subject)
        for unit in disfa.UNITS[12]:
            files[f"ActionUnit_Labels/{name}/{name}_au{unit}.txt"] = "".join(
                f"{frame},{intensity(subject, unit, frame)}\n" for frame in range(1, NUM_FRAMES + 1)
            )
        for frame in range(1, NUM_FRAMES + 1):
            file = io.BytesIO()
            scipy.io.savemat(file, {"pts": points(subject, frame)})
            mat = f"l0{frame:04d}_lm.mat" if subject == 2 else f"{name}_{frame - 1:04d}_lm.mat"
            files[f"Landmark_Points/{name}/tmp_frame_lm/{mat}"] = file.getvalue()
    write_video(root / "Video_RightCamera/RightVideoSN001_Comp.avi", 30)
    return write(root, files)


def test_disfa(tmp_path):
    source = make_disfa(tmp_path / "DISFA")
    summary, records = convert(disfa.DATASET, source)
    assert [len(records[f"fold_{n}"]) for n in (1, 2, 3)] == [10, 5, 5]
    assert summary["fold_1"]["counts"]["subject"]["SN002"] == 5
    names = disfa.DATASET.read(source, _arguments(source))[0]["subject"].names
    for part in records.values():
        for record in part:
            subject = int(names[record["subject"]][2:])
            frame = int(record["file"].rpartition(" ")[2])
            assert f"SN{subject:03d}" in record["file"]
            expected = [intensity(subject, unit, frame) for unit in (1, 2, 4, 6, 9, 12, 25, 26)]
            np.testing.assert_array_equal(record["action_units"], expected)
            pixels = np.asarray(Image.open(io.BytesIO(record["image"])))
            np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), shade(subject, frame), atol=6)
    assert skipped(summary["fold_3"])["SN029"] == "has no video of this camera"


def _arguments(source, *options):
    return disfa.conversion.parser(disfa.DATASET).parse_args([f"--source={source}", "--out=x", *options])


def test_disfa_folds_are_of_all_27_subjects():
    subjects = [subject for fold in disfa.FOLDS for subject in fold]
    numbers = set(range(1, 33)) - {14, 15, 19, 20, 22}
    assert sorted(subjects) == [f"SN{number:03d}" for number in sorted(numbers)]
    assert all(len(fold) == 9 for fold in disfa.FOLDS)


def test_disfa_crop_and_one_fold_to_test(tmp_path):
    source = make_disfa(tmp_path / "DISFA")
    _, records = convert(disfa.DATASET, source, "--units=12", "--test_fold=1", "--crop=0")
    assert {split: len(part) for split, part in records.items()} == {"train": 10, "test": 10}
    assert all("SN00" in record["file"] and record["action_units"].shape == (12,) for record in records["test"])
    for record, subject in ((records["test"][0], 2), (records["test"][5], 1)):  # both ways to name the points
        size = Image.open(io.BytesIO(record["image"])).size
        corners = points(subject, 1)
        assert size == tuple(np.ceil(corners.max(0)).astype(int) - np.floor(corners.min(0)).astype(int))


def test_disfa_labels_that_make_no_sense(tmp_path, capsys):
    source = make_disfa(tmp_path / "DISFA")
    labels = source / "ActionUnit_Labels/SN006"
    (labels / "SN006_au4.txt").write_text("1,0\n2,9\n3,0\n4,0\n")
    summary, records = convert(disfa.DATASET, source)
    reasons = skipped(summary["fold_2"])
    assert "out of range" in reasons["Videos_LeftCamera/LeftVideoSN006_comp.avi, frame 2"]
    assert "SN006_au4.txt" in reasons["Videos_LeftCamera/LeftVideoSN006_comp.avi, frame 5"]
    assert [record["file"][-1] for record in records["fold_2"]] == ["1", "3", "4"]
    (labels / "SN006_au4.txt").write_text("one, two\n")
    assert "'one, two' is not a frame" in refused(disfa.DATASET, source, capsys=capsys)
    (labels / "SN006_au4.txt").unlink()
    assert "fold_2" in refused(disfa.DATASET, source, capsys=capsys)  # its only subject
    assert "Videos_RightCamera" not in refused(disfa.DATASET, source, "--camera=right", capsys=capsys)


# --- BP4D ---


def make_bp4d(root, codes="AUCoding/AU_OCC", images="Sequences(2D+3D)/", digits=4):
    files = {}
    for number, subject in enumerate(("F001", "M003", "M011")):
        for task in bp4d.TASKS if subject == "F001" else ("T1",):
            header = ",".join(map(str, range(100)))
            rows = []
            for frame in range(8, 12):
                units = np.random.default_rng([number, frame]).integers(0, 2, 99)
                units[[2, 98]] = 9  # AU3 and AU99 are none of the twelve
                rows.append(f"{frame}," + ",".join(map(str, units)))
                files[f"{images}{subject}/{task}/{frame:0{digits}d}.jpg"] = picture(frame)
            files[f"{codes}/{subject}_{task}.csv"] = "\n".join([header, *rows]) + "\n"
    return write(root, files)


def test_bp4d(tmp_path):
    source = make_bp4d(tmp_path / "BP4D")
    summary, records = convert(bp4d.DATASET, source)
    assert [len(records[f"fold_{n}"]) for n in (1, 2, 3)] == [32, 4, 4]
    assert summary["fold_1"]["counts"]["task"] == dict.fromkeys(bp4d.TASKS, 4)
    for split, number in {"fold_1": 0, "fold_3": 1, "fold_2": 2}.items():
        for record in records[split]:
            frame = int(record["file"][-8:-4])
            units = np.random.default_rng([number, frame]).integers(0, 2, 99)
            np.testing.assert_array_equal(record["action_units"], [units[unit - 1] for unit in bp4d.UNITS])
            assert record["image"] == (source / record["file"]).read_bytes()
    assert skipped(summary["fold_3"])["M003_T2.csv"] == "is missing"


def test_bp4d_other_folders_and_numbers(tmp_path):
    source = make_bp4d(tmp_path / "BP4D", "AUCoding", "", 1)
    _, records = convert(bp4d.DATASET, source, "--test_fold=2")
    assert {split: len(part) for split, part in records.items()} == {"train": 36, "test": 4}
    assert [record["file"] for record in records["test"]] == [f"M011/T1/{frame}.jpg" for frame in range(8, 12)]


def test_bp4d_frames_without_image_or_code(tmp_path, capsys):
    source = make_bp4d(tmp_path / "BP4D")
    path = source / "AUCoding/AU_OCC/M011_T1.csv"
    lines = path.read_text().splitlines()
    unknown = lines[2].split(",")
    unknown[12] = "9"
    path.write_text("\n".join([lines[0], lines[1], ",".join(unknown), "77" + lines[3][2:], "x" + lines[4][2:]]))
    summary, _ = convert(bp4d.DATASET, source)
    reasons = skipped(summary["fold_2"])
    assert summary["fold_2"]["records"] == 1
    assert "not coded 0 or 1" in reasons["M011_T1.csv, frame 9"] and "no image" in reasons["M011_T1.csv, frame 77"]
    assert "not coded" in reasons["M011_T1.csv, frame x"]
    path.write_text("\n".join(lines).replace(",24,", ",AU24,"))
    assert "lacks the column 24" in refused(bp4d.DATASET, source, capsys=capsys)


def test_bp4d_folds_are_of_all_41_subjects():
    everybody = {f"F{n:03d}" for n in range(1, 24)} | {f"M{n:03d}" for n in range(1, 19)}
    subjects = [subject for fold in bp4d.FOLDS for subject in fold]
    assert len(subjects) == 41 and set(subjects) == everybody
