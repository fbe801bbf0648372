"""300W-LP, AFLW2000, BIWI, MATLAB files, and angles."""

import io
import struct

import cv2
import numpy as np
import pytest
import scipy.io
from converting import convert, picture, refused, skipped, write
from PIL import Image
from scipy.spatial.transform import Rotation

from data_prep import aflw2000, biwi, w300lp
from data_prep.formats import head_pose, mat_files


def mat(compress=False, **arrays) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, arrays, do_compression=compress)
    return file.getvalue()


def pose_para(yaw, pitch, roll):
    return np.float32([[*np.radians([pitch, yaw, roll]), 10, 20, 0, 1e-3]])


def points(seed):
    return np.random.default_rng(seed).uniform(1, 18, (2, 68)).astype(np.float32)


# --- MATLAB files ---


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_mat_files_against_scipy(compress, dtype):
    rng = np.random.default_rng(0)
    arrays = {"Pose_Para": rng.uniform(0, 100, (1, 7)), "pt2d": rng.uniform(0, 100, (2, 68)), "p": np.zeros((2, 0, 3))}
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    others = {"note": "text", "cells": np.array([1, "b"], object), "roi": {"x": 1}, "scalar": 3}
    data = mat(compress, **others, **arrays)
    read = mat_files.read(data, tuple(arrays))
    expected = scipy.io.loadmat(io.BytesIO(data))
    for name, array in read.items():
        assert array.dtype == np.float64 and array.flags.writeable
        np.testing.assert_array_equal(array, expected[name])
    assert mat_files.read(data, ("scalar",))["scalar"] == [[3]]


def test_mat_files_of_a_big_endian_machine():
    # header; a matrix called "ab", double, 1 x 2; its numbers written as int16 in a short element
    matrix = struct.pack(">IIIIIIiiHH2sxxHHhh", 6, 8, 6, 0, 5, 8, 1, 2, 2, 1, b"ab", 4, 3, -5, 300)
    data = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(matrix)) + matrix
    np.testing.assert_array_equal(mat_files.read(data, ("ab",))["ab"], [[-5, 300]])
    np.testing.assert_array_equal(scipy.io.loadmat(io.BytesIO(data))["ab"], [[-5, 300]])


@pytest.mark.parametrize("compress", [False, True])
def test_mat_files_that_are_none(compress):
    good = mat(compress, a=np.eye(9), text="abc", cells=np.array([{}], object), z=np.eye(2) * 1j)
    for data in (b"", b"not a matlab file", good[:100], b"\x89HDF\r\n\x1a\n" + bytes(200)):
        with pytest.raises(ValueError, match="not a MATLAB file"):
            mat_files.read(data, ("a",))
    for length in (129, 135, 150, 200, len(good) - 9):
        with pytest.raises(ValueError, match=r"truncated|damaged"):
            mat_files.read(good[:length], ("a",))
    for name, reason in {"b": "has no array b", "text": "not an array", "cells": "not an", "z": "real numbers"}.items():
        with pytest.raises(ValueError, match=reason):
            mat_files.read(good, (name,))


def test_damaged_mat_files_end_in_one_kind_of_error():
    rng = np.random.default_rng(0)
    for seed, good in enumerate(2 * [mat(c, Pose_Para=pose_para(1, 2, 3), pt2d=points(0)) for c in (False, True)]):
        for _ in range(200):
            data = bytearray(good)
            for place in rng.integers(120, len(data) if seed < 2 else 220, 3):
                data[place] = rng.integers(256)
            try:
                read = mat_files.read(bytes(data), ("Pose_Para", "pt2d"))
                assert {array.size for array in read.values()} <= {7, 136}
            except ValueError as error:
                assert str(error)


def test_a_mat_file_that_unpacks_to_something_huge():
    bomb = mat(True, pt2d=np.zeros((4096, 1024)))
    assert len(bomb) < 1 << 16
    with pytest.raises(ValueError, match="unpacks to more than"):
        mat_files.read(bomb, ("pt2d",))


# --- Angles ---

CAMERA = np.diag([1.0, -1, -1])  # from x right, y up, z to the viewer, to x right, y down, z away


@pytest.mark.parametrize("seed", range(5))
def test_both_sources_of_poses_agree(seed):
    yaw, pitch, roll = np.random.default_rng(seed).uniform(-80, 80, 3)
    # 3DDFA's Rx(pitch) Ry(yaw) Rz(roll), each the inverse of the usual matrix
    turns = {"x": -pitch, "y": -yaw, "z": -roll}
    rx, ry, rz = (Rotation.from_euler(axis, angle, degrees=True).as_matrix() for axis, angle in turns.items())
    rotation = rx @ ry @ rz
    expected = [-yaw, pitch, roll]
    np.testing.assert_allclose(head_pose.from_pose_para(pose_para(yaw, pitch, roll)), expected, atol=1e-4)
    np.testing.assert_allclose(head_pose.from_camera_rotation(CAMERA @ rotation @ CAMERA), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("axis", "angle", "seen"),
    [
        # in the camera's frame (x right, y down, z away), right-handed turns of a head that looks into the camera
        ("y", 20, (-20, 0, 0)),
        ("x", 20, (0, -20, 0)),
        ("z", 20, (0, 0, 20)),
    ],
)
def test_signs_are_what_is_seen(axis, angle, seen):
    rotation = Rotation.from_euler(axis, angle, degrees=True).as_matrix()
    pose = head_pose.from_camera_rotation(rotation)
    np.testing.assert_allclose(pose, seen, atol=1e-4)
    nose, top = rotation @ [0, 0, -1], rotation @ [0, -1, 0]
    assert np.sign(pose[0]) == np.sign(nose[0].round(6))  # to the image's right
    assert np.sign(pose[1]) == np.sign(-nose[1].round(6))  # up
    assert np.sign(pose[2]) == np.sign(top[0].round(6) if axis == "z" else 0)  # the top of the head goes right


def test_what_is_no_pose():
    for bad in (np.zeros(6), np.full(7, np.nan)):
        with pytest.raises(ValueError, match="Pose_Para"):
            head_pose.from_pose_para(bad)
    for bad in (np.zeros((3, 3)), np.eye(3) * 2, np.eye(4)):
        with pytest.raises(ValueError, match="rotation"):
            head_pose.from_camera_rotation(bad)


# --- 300W-LP and AFLW2000 ---


def make_w300lp(root):
    files = {}
    for seed, folder in enumerate(w300lp.FOLDERS):
        prefix = f"{root.name}/{folder}/{folder}_134212_{seed}"
        files[f"{prefix}.jpg"] = picture(seed)
        pose = pose_para(10 * seed, -seed, 2 * seed)
        files[f"{prefix}.mat"] = mat(Pose_Para=pose, pt2d=points(seed), roi=np.arange(4), Shape_Para=np.zeros((199, 1)))
        files[f"{root.name}/landmarks/{folder}/{folder}_134212_{seed}_pts.mat"] = mat(pts_2d=points(seed).T)
    return write(root.parent, files) / root.name


def test_w300lp(tmp_path):
    source = make_w300lp(tmp_path / "300W_LP")
    _, records = convert(w300lp.DATASET, source)
    assert len(records["train"]) == 8
    for seed, record in enumerate(records["train"]):
        assert record["file"].startswith(w300lp.FOLDERS[seed] + "/")
        np.testing.assert_allclose(record["pose"], [-10 * seed, -seed, 2 * seed], atol=1e-4)
        np.testing.assert_allclose(record["landmarks"], points(seed).T)
        assert record["image"] == picture(seed)
    _, again = convert(w300lp.DATASET, tmp_path, "--crop=0", "--size=8")  # the folder around it
    assert max(Image.open(io.BytesIO(again["train"][0]["image"])).size) == 8
    assert again["train"][0]["landmarks"].max() < 9


def test_w300lp_bad_labels(tmp_path, capsys):
    source = make_w300lp(tmp_path / "300W_LP")
    mats = sorted(source.glob("[AHIL]*/*.mat"))
    mats[0].write_bytes(mats[0].read_bytes()[:300])
    mats[1].write_bytes(b"")
    mats[2].unlink()
    mats[3].write_bytes(mat(Pose_Para=pose_para(100, 0, 0), pt2d=points(3)))  # beyond the protocol: not an error
    mats[4].write_bytes(mat(Pose_Para=np.zeros(6), pt2d=points(3)))
    mats[5].write_bytes(mat(Pose_Para=pose_para(0, 0, 0), pt2d=points(3)[:, :21]))
    summary, _ = convert(w300lp.DATASET, source)
    reasons = skipped(summary["train"])
    assert summary["train"]["records"] == 2 and len(reasons) == 5
    for path, reason in zip(
        mats, ("damaged", "not a MATLAB file", "No such file", None, "seven", "not 68 points"), strict=False
    ):
        name = str(path.relative_to(source).with_suffix(".jpg"))
        assert (reason in reasons[name]) if reason else (name not in reasons)
    assert ".mat: " in refused(w300lp.DATASET, source, "--strict", capsys=capsys)


def make_aflw2000(root):
    files = {}
    for seed, name in enumerate(("image00002", "image00004", "image00006")):
        yaw = (30, -120, -75)[seed]
        files[f"{name}.jpg"] = picture(seed)
        cloud = np.concatenate([points(seed), np.zeros((1, 68))])
        files[f"{name}.mat"] = mat(Pose_Para=pose_para(yaw, 5, 0), pt3d_68=cloud, pt2d=np.full((2, 21), -1))
    return write(root, files)


def test_aflw2000(tmp_path):
    source = make_aflw2000(tmp_path / "AFLW2000")
    summary, records = convert(aflw2000.DATASET, source)
    assert [record["file"] for record in records["test"]] == ["image00002.jpg", "image00006.jpg"]
    np.testing.assert_allclose([record["pose"][0] for record in records["test"]], [-30, 75], atol=1e-4)
    np.testing.assert_allclose(records["test"][1]["landmarks"], points(2).T)
    assert not summary["test"]["skipped"]
    assert len(convert(aflw2000.DATASET, tmp_path)[1]["test"]) == 2


# --- BIWI ---

CALIBRATION = np.array([[517.679, 0, 320.0], [0, 517.679, 240.5], [0, 0, 1]])
TURN, SHIFT = Rotation.from_euler("y", 0.5, degrees=True).as_matrix(), np.array([24.6, -0.4, 3.4])


def rows(matrix):
    return "".join(f"{' '.join(f'{value:.9f}' for value in row)} \n" for row in np.atleast_2d(matrix))


def make_biwi(root):
    files = {}
    for number, name in enumerate(("01", "02")):
        files[f"{name}/rgb.cal"] = f"{rows(CALIBRATION)}\n0 0 0 0 \n\n{rows(TURN)}\n{rows(SHIFT)}\n640 480\n"
        files[f"{name}/depth.cal"] = rows(CALIBRATION)
        files[f"{name}.obj"] = "v 0 0 0\n"
        for frame in (3, 4):
            stem = f"{name}/frame_{frame:05d}"
            rotation = Rotation.from_euler("y", 10 * frame + number, degrees=True).as_matrix()
            files[f"{stem}_pose.txt"] = f"{rows(rotation)}\n{rows([60.5, -30, 950])}\n"
            files[f"{stem}_rgb.png"] = picture(frame, 480, 640, form="PNG")
            files[f"{stem}_depth.bin"] = b"\0" * 10
    return write(root, files)


def test_biwi(tmp_path):
    source = make_biwi(tmp_path / "hpdb")
    _, records = convert(biwi.DATASET, source)
    assert [record["sequence"] for record in records["test"]] == [1, 1, 2, 2]
    np.testing.assert_allclose([record["pose"][0] for record in records["test"]], [-30, -40, -31, -41], atol=1e-3)
    record = records["test"][0]
    assert record["image"] == (source / "01/frame_00003_rgb.png").read_bytes()
    head = np.array([60.5, -30, 950])
    projected, _ = cv2.projectPoints(head[None], cv2.Rodrigues(TURN)[0], SHIFT, CALIBRATION, None)
    left, top, right, bottom = record["head_box"]
    np.testing.assert_allclose([(left + right) / 2, (top + bottom) / 2], projected.ravel(), atol=1e-3)
    assert right - left == pytest.approx(517.679 * 240 / (TURN @ head + SHIFT)[2], abs=1e-3)
    _, cropped = convert(biwi.DATASET, tmp_path, "--crop=0", "--size=64")
    assert Image.open(io.BytesIO(cropped["test"][0]["image"])).size == (64, 64)


def test_biwi_bad_poses(tmp_path, capsys):
    source = make_biwi(tmp_path / "hpdb")
    (source / "01/frame_00003_pose.txt").write_text("1 0 0\n0 1 0\n")
    (source / "01/frame_00004_pose.txt").write_text(f"{rows(np.ones((3, 3)))}\n0 0 900\n")
    (source / "02/frame_00003_pose.txt").unlink()
    summary, _ = convert(biwi.DATASET, source)
    assert [item["reason"].split(": ")[1].split(",")[0] for item in summary["test"]["skipped"]] == [
        "holds 6 numbers",
        "the 3 x 3 matrix is not a rotation",
        "No such file or directory",
    ]
    (source / "02/rgb.cal").write_text("not a camera")
    assert "rgb.cal does not contain numbers" in refused(biwi.DATASET, source, capsys=capsys)
    (source / "02/rgb.cal").unlink()
    assert "02/rgb.cal" in refused(biwi.DATASET, source, capsys=capsys)
