"""Synthetic faces: the labels against the pictures, and the records."""

import cv2
import ml_collections
import numpy as np
import pytest

import synthetic_faces
from data_prep import synthetic_faces as command
from facejax.data import embedded, images, records
from facejax.errors import UserError
from synthetic_faces import REGIONS, scenes

SIZE = 40
SEED = 5
LEFT_EYE, RIGHT_EYE, MOUTH, JAW = slice(42, 48), slice(36, 42), slice(48, 60), slice(0, 17)
BARE = dict(
    hat=0.0, brim=0.0, glasses=0.0, sunglasses=0.0, mask=0.0, hand=0.0, card=0.0, offset=np.zeros(2), extent=26.0
)


def bare_face(person, *, image=0, label=0, **fields):
    return scenes.scene(SEED, person, image, label=label) | BARE | dict(pose=np.zeros(3)) | fields


def draw(*faces):
    return synthetic_faces.draw(list(faces), SIZE)


def region_at(drawn, i, points):
    column, row = np.floor(points).astype(int).T
    return {REGIONS[k] for k in drawn["regions"][i][row, column]}


def units(*active):
    return np.array([number in active for number in scenes.ACTION_UNITS], np.float32)


@pytest.fixture(scope="module")
def frontal():
    """Eight people from the front, with the same neutral face."""
    people = [i for i in range(40) if scenes.identity(SEED, i)["hairline"] > 5][:8]
    return draw(*(bare_face(i, action_units=units()) for i in people))


def test_same_scene_same_pixels_whoever_else_is_in_the_batch():
    faces = [scenes.scene(SEED, person, 3) for person in range(11)]
    together, alone = draw(*faces), draw(faces[9])
    for name in alone:
        np.testing.assert_array_equal(alone[name][0], together[name][9], err_msg=name)
    assert together["image"].shape == (11, SIZE, SIZE, 3) and together["image"].dtype == np.uint8


def test_seed_identity_and_image_each_change_the_scene():
    def fingerprint(*where):
        return repr(sorted(scenes.scene(*where).items(), key=lambda item: item[0]))

    scenes.identity.cache_clear()
    first = fingerprint(1, 2, 3)
    scenes.identity.cache_clear()
    assert fingerprint(1, 2, 3) == first
    assert len({first, fingerprint(1, 2, 4), fingerprint(1, 3, 3), fingerprint(2, 2, 3)}) == 4


def test_identity_stays_while_the_image_changes():
    who = scenes.identity(SEED, 4)
    for image in range(5):
        scene = scenes.scene(SEED, 4, image)
        for name in (
            "skin",
            "hair",
            "iris",
            "jaw_width",
            "nose_width",
            "brow_thickness",
            "beard_length",
            "long_volume",
        ):
            np.testing.assert_array_equal(scene[name], who[name])


def test_landmarks_lie_on_their_regions_from_the_front(frontal):
    for i in range(8):
        points = frontal["landmarks"][i]
        for eye in (RIGHT_EYE, LEFT_EYE):
            assert region_at(frontal, i, points[eye].mean(0, keepdims=True)) == {"eyes"}
        assert region_at(frontal, i, points[28:31]) == {"nose"}
        assert region_at(frontal, i, points[MOUTH].mean(0, keepdims=True)) <= {"mouth", "beard"}
        assert frontal["visibility"][i][17:].mean() > 0.9


def test_landmarks_have_ibug_order(frontal):
    for points in frontal["landmarks"]:
        x, y = points.T
        assert (np.diff(x[JAW]) > 0).all() and y[8] == y[JAW].max()
        assert (np.diff(x[17:27]) > 0).all()  # brows, from the image's left to its right
        assert (np.diff(y[27:31]) > 0).all() and (np.diff(x[31:36]) > 0).all()  # nose: down, then across
        for corner_a, corner_b, upper, lower in ((36, 39, (37, 38), (41, 40)), (42, 45, (43, 44), (47, 46))):
            assert x[corner_a] < x[upper[0]] < x[upper[1]] < x[corner_b]
            assert y[upper[0]] < y[lower[0]] and y[upper[1]] < y[lower[1]]
        assert x[48] == x[48:60].min() and x[54] == x[48:60].max()
        assert y[51] < y[62] <= y[66] < y[57]


def test_mirrored_yaw_mirrors_the_nose_and_hides_the_far_side():
    person = next(i for i in range(40) if scenes.identity(SEED, i)["style"] in ("crop", "bun", "bald", "receding"))
    drawn = draw(*(bare_face(person, action_units=units(), pose=np.array([yaw, 0.0, 0.0])) for yaw in (-50, 0, 50)))
    nose = drawn["landmarks"][:, 30, 0]
    assert nose[0] < nose[1] - 3 and nose[2] > nose[1] + 3
    np.testing.assert_allclose(nose[0] + nose[2], 2 * nose[1], atol=0.05)
    seen = drawn["visibility"].astype(int)
    assert seen[0][:8].sum() < seen[0][9:17].sum() and seen[2][:8].sum() > seen[2][9:17].sum()
    assert seen[1][:8].sum() == seen[1][9:17].sum()
    assert seen[0][RIGHT_EYE].sum() < seen[0][LEFT_EYE].sum() and seen[2][RIGHT_EYE].sum() > seen[2][LEFT_EYE].sum()


def test_pitch_and_roll_turn_as_documented():
    poses = ([0, 0, 0], [0, 20, 0], [0, 0, 15])
    level, up, clockwise = draw(*(bare_face(0, action_units=units(), pose=np.array(p, float)) for p in poses))[
        "landmarks"
    ]
    assert up[30, 1] < level[30, 1] - 1  # nose tip
    eyes = clockwise[LEFT_EYE].mean(0) - clockwise[RIGHT_EYE].mean(0)
    np.testing.assert_allclose(np.degrees(np.arctan2(eyes[1], eyes[0])), 15, atol=1.5)


@pytest.mark.parametrize("person", [0, 3])
def test_action_units_move_what_they_are_named_for(person):
    active = [(), (12,), (15,), (25, 26), (1, 2), (4,), (5,), (20,)]
    drawn = draw(*(bare_face(person, action_units=units(*numbers)) for numbers in active))
    neutral, smile, sad, jaw, raised, frown, stare, stretch = drawn["landmarks"]
    corners, brows = [48, 54], slice(17, 27)
    assert (smile[corners, 1] < neutral[corners, 1] - 0.5).all() and (sad[corners, 1] > neutral[corners, 1] + 0.5).all()
    assert jaw[66, 1] - jaw[62, 1] > neutral[66, 1] - neutral[62, 1] + 1 and jaw[8, 1] > neutral[8, 1] + 0.5
    assert (raised[brows, 1] < neutral[brows, 1] - 0.3).all()
    assert frown[[21, 22], 1].mean() > neutral[[21, 22], 1].mean() + 0.5
    assert stare[41, 1] - stare[37, 1] > neutral[41, 1] - neutral[37, 1] + 0.3
    assert stretch[54, 0] - stretch[48, 0] > neutral[54, 0] - neutral[48, 0] + 1
    mouth, eyes = REGIONS.index("mouth"), REGIONS.index("eyes")
    assert (drawn["regions"][3] == mouth).sum() > 1.5 * (drawn["regions"][0] == mouth).sum()
    assert (drawn["regions"][6] == eyes).sum() > (drawn["regions"][0] == eyes).sum()


def test_attributes_agree_with_action_units_and_picture():
    named = synthetic_faces.ATTRIBUTES
    plain = bare_face(1, action_units=units())
    worn = [dict(glasses=1.0, sunglasses=1.0), dict(hat=1.0), dict(card=1.0, occluder_place=np.array([0.0, -7.0, 0.0]))]
    drawn = draw(plain, *(plain | fields for fields in worn))
    for i, (name, region) in enumerate((("glasses", "glasses"), ("hat", "hat"), ("occluded", "occluder")), start=1):
        index = REGIONS.index(region)
        assert (drawn["regions"][i] == index).sum() > 20 and not (drawn["regions"][0] == index).any()
        assert synthetic_faces.attributes(plain | worn[i - 1])[named.index(name)]
        assert not synthetic_faces.attributes(plain)[named.index(name)]
    assert not drawn["visibility"][1][RIGHT_EYE].any() and not drawn["visibility"][3][MOUTH].any()
    for image in range(60):
        scene = scenes.scene(SEED, image, image)
        values = dict(zip(named, synthetic_faces.attributes(scene), strict=True))
        strength = dict(zip(scenes.ACTION_UNITS, scene["action_units"], strict=True))
        assert values["smiling"] == (strength[12] >= 0.3)
        if scenes.EXPRESSIONS[scene["expression"]] == "Happiness":
            assert values["smiling"]


def test_people_differ_more_than_images_of_one_person():
    def portrait(drawn):
        """Face shape (landmarks about their mean) and colour of the skin."""
        shape = drawn["landmarks"] - drawn["landmarks"].mean(1, keepdims=True)
        skin = drawn["regions"] == REGIONS.index("skin")
        return shape, np.stack([image[where].mean(0) for image, where in zip(drawn["image"], skin, strict=True)])

    light = {name: scenes.scene(SEED, 0, 0)[name] for name in ("key", "fill", "key_direction", "rim")}
    people = draw(*(bare_face(i, action_units=units(), distance=100.0, **light) for i in range(8)))
    same = draw(*(bare_face(2, image=i, action_units=units(), distance=100.0, **light) for i in range(8)))
    for across, within in zip(portrait(people), portrait(same), strict=True):
        assert across.std(0).mean() > 3 * within.std(0).mean()


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_command_writes_readable_records(tmp_path, capsys, file_format):
    def run(out):
        command.main([f"--out={out}", f"--size={SIZE}", "--train_identities=3", "--test_identities=2",
                              "--images_per_identity=3", f"--seed={SEED}", f"--format={file_format}"])  # fmt: skip

    settings = ml_collections.ConfigDict(
        dict(folder=str(tmp_path / "faces"), size=SIZE, train_identities=3, test_identities=2, images_per_identity=3)
    )
    planned = {split: embedded.PlannedSplit(settings, split) for split in ("train", "test")}
    assert embedded.planned(settings, [(settings.folder, "train"), ("elsewhere", "train")]).keys() == {
        (settings.folder, "train")
    }
    run(tmp_path / "faces")
    assert embedded.planned(settings, [(settings.folder, "train")]) == {}
    assert "train: 9 records, 3 identities" in capsys.readouterr().out
    people = {}
    for split, count in (("train", 9), ("test", 6)):
        source = records.open_split(tmp_path / "faces", split)
        assert len(source) == count
        people[split] = {int(source[i]["identity"]) for i in range(count)}
        plan = planned[split]  # what a run knew of them before
        assert len(plan) == count and plan.features.keys() == source.features.keys()
        assert all(plan[i]["identity"] == source[i]["identity"] for i in range(count))
    assert people == {"train": {0, 1, 2}, "test": {3, 4}}

    record, scene = records.open_split(tmp_path / "faces", "train")[4], scenes.scene(SEED, 1, 1)
    drawn = draw(scene)
    assert np.abs(images.decode(record["image"]).astype(int) - drawn["image"][0]).mean() < 3  # JPEG
    for name in ("landmarks", "visibility"):
        np.testing.assert_array_equal(record[name], drawn[name][0])
    np.testing.assert_array_equal(record["action_units"], scene["action_units"])
    np.testing.assert_allclose(record["pose"], scene["pose"], rtol=1e-6)
    np.testing.assert_array_equal(record["attributes"], synthetic_faces.attributes(scene))
    assert record["expression"] == scene["expression"]

    run(tmp_path / "again")
    for path in (tmp_path / "faces").glob("synthetic_faces-*"):
        if file_format == "tfrecord":  # same seed and size, same bytes
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_regions_are_stored_without_loss(tmp_path):
    embedded.generate(
        tmp_path / "faces", size=SIZE, train_identities=1, test_identities=1, images_per_identity=1, seed=9
    )
    stored = records.open_split(tmp_path / "faces", "test")[0]["regions"]
    regions = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(regions, draw(scenes.scene(9, 1, 0))["regions"][0])


def test_what_a_user_can_get_wrong_is_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match=r"--size=300.*256"):
        embedded.generate(tmp_path / "a", size=300)
    with pytest.raises(UserError, match="--test_identities=0"):
        embedded.generate(tmp_path / "a", test_identities=0)
    with pytest.raises(UserError, match="exists already"):
        embedded.generate(tmp_path)
    for argv, message in (([], "--out is missing"), (["--sheet=faces.gif"], ".png")):
        with pytest.raises(SystemExit) as exit_:
            command.main(argv)
        error = capsys.readouterr().err
        assert exit_.value.code == 2 and message in error and error.count("\n") == 1
