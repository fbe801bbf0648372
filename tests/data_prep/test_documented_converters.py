"""Every converter in the tables of docs/data_sets.md runs, with the options that stand there."""

import importlib
import pickle

import documented_commands
import pytest
from converting import picture, write
from test_action_unit_sets import make_bp4d, make_disfa
from test_expression_sets import make_affectnet_lists, make_fer, make_rafdb
from test_ijb import make_ijb
from test_landmark_sets import make_celeba, make_w300, make_wflw
from test_mxnet_records import insightface
from test_pair_sets import make_lfw, make_two_lines
from test_pose_sets import make_aflw2000, make_biwi, make_w300lp
from test_voxceleb import META_1

from data_prep import conversion

COMMANDS = documented_commands.of_converters()
FRAME = "unzippedFaces/{}/1.6/1zcIwhmdeo4/0000375.jpg"
VGGFACE2 = {f"{split}/0001_01.jpg": picture(0) for split in ("train/n000002", "test/n000001")}
VOXCELEB = {FRAME.format(name): picture(1) for name in ("A.J._Buckley", "Eartha_Kitt")}
SOURCES = {  # data set: writes what its owners ship, into a folder
    "your own images": lambda root: write(root, {"2024/May/IMG_0001.JPG": picture(0)}),
    "VGGFace2": lambda root: write(root, VGGFACE2),
    "VoxCeleb1, 2": lambda root: write(root, {"vox1_meta.csv": META_1, **VOXCELEB}),
    "CASIA-WebFace": lambda root: write(root, {"0000045/001.jpg": picture(0)}),
    "MS1MV2, MS1MV3, Glint360K": insightface,
    "WebFace4M, 12M, 42M": lambda root: insightface(root, num_people=205_990),
    "RAF-DB": make_rafdb,
    "AffectNet": make_affectnet_lists,
    "FER2013": make_fer,
    "FER+": make_fer,
    "CelebA": make_celeba,
    "300W": make_w300,
    "WFLW": make_wflw,
    "300W-LP": lambda root: make_w300lp(root / "300W_LP"),
    "AFLW2000-3D": make_aflw2000,
    "BIWI": make_biwi,
    "DISFA": make_disfa,
    "BP4D": make_bp4d,
    "LFW": make_lfw,
    "CALFW": lambda root: make_two_lines(root, "CALFW", lambda i: i // 2 + 1),
    "CPLFW": lambda root: make_two_lines(root, "CPLFW", lambda i: 1),
    "LFW, CFP-FP, AgeDB-30, ... aligned": lambda root: write(
        root, {"lfw.bin": pickle.dumps(([picture(i) for i in range(4)], [True, False]))}
    ),
    "IJB-B, IJB-C": lambda root: make_ijb(root, "C"),
}


def test_every_data_set_has_a_source_here():
    assert list(COMMANDS) == list(SOURCES)


@pytest.mark.parametrize("name", COMMANDS)
def test_converter(name, tmp_path, capsys):
    converter, *options = COMMANDS[name].split()
    SOURCES[name](tmp_path / "source")
    dataset = importlib.import_module(f"data_prep.{converter}").DATASET
    conversion.main(dataset, [f"--source={tmp_path}/source", f"--out={tmp_path}/records", *options])
    assert " records in " in capsys.readouterr().out
    assert (tmp_path / "records" / "features.json").exists()
