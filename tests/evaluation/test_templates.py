"""Pooling, scores, curve, readings and identification, each against a loop written from the protocol's text."""

import numpy as np
import pytest

from facejax.errors import UserError
from facejax.evaluation import templates
from facejax.evaluation.templates import Pairs, Templates


def make_images(seed, count=80, dimensions=7, num_templates=15):
    """Images in shuffled order: features, mirrored, scores, templates with gaps, media shared by templates."""
    rng = np.random.default_rng(seed)
    identifiers = rng.permutation(200)[:num_templates]
    return (
        rng.standard_normal((count, dimensions)).astype(np.float32),
        rng.standard_normal((count, dimensions)).astype(np.float32),
        rng.random(count).astype(np.float32),
        np.r_[identifiers, rng.choice(identifiers, count - num_templates)],
        rng.integers(0, 6, count),
    )


def pooled_reference(features, mirrored, scores, names, media, switches):
    result = {}
    for name in sorted(set(names.tolist())):
        total = 0
        for medium in set(media[names == name].tolist()):
            frames = []
            for i in np.flatnonzero((names == name) & (media == medium)):
                vector = features[i].astype(float) + (0 if "no_flip" in switches else mirrored[i].astype(float))
                if "normalised_first" in switches:
                    vector = vector / np.sqrt(vector @ vector)
                frames.append(vector * (1 if "no_detector" in switches else float(scores[i])))
            total = total + sum(frames) / len(frames)
        result[name] = total / np.sqrt(total @ total)
    return result


@pytest.mark.parametrize("switches", [(), *((switch,) for switch in templates.SWITCHES), templates.SWITCHES])
@pytest.mark.parametrize("chunk", [3, 4096])  # templates and media that a border cuts
def test_pooling_equals_the_protocol_spelled_out(switches, chunk, monkeypatch):
    monkeypatch.setattr(templates, "_CHUNK", chunk)
    images = make_images(0)
    pooled = templates.pool(*images, switches=switches)
    expected = pooled_reference(*images, switches)
    assert pooled.identifiers.tolist() == list(expected)
    np.testing.assert_allclose(pooled.features, list(expected.values()), rtol=1e-12, atol=1e-13)


def test_what_is_switched_off_need_not_be_there():
    features, _, _, names, media = make_images(1)
    pooled = templates.pool(features, None, None, names, media, switches=("no_flip", "no_detector"))
    ones = templates.pool(features, 0 * features, np.ones(len(features)), names, media)
    np.testing.assert_array_equal(pooled.features, ones.features)


def test_frames_of_one_medium_count_as_one_image_and_media_of_two_templates_stay_apart():
    features = np.array([[3.0, 0], [3, 0], [3, 0], [0, 3], [0, 5]])
    pooled = templates.pool(features, features, np.ones(5), [1, 1, 1, 1, 2], [9, 9, 9, 4, 9])
    np.testing.assert_allclose(pooled.features, [[np.sqrt(0.5)] * 2, [0, 1]])


def test_a_template_of_nothing_has_no_direction_and_no_nan():
    pooled = templates.pool(np.ones((2, 3)), np.ones((2, 3)), [0.0, 1], [1, 2], [1, 1], switches=("normalised_first",))
    np.testing.assert_allclose(np.linalg.norm(pooled.features, axis=1), [0, 1])
    assert templates.pair_scores(pooled, [1, 2], [2, 2]) == pytest.approx([0, 1])


def test_scores_are_in_the_order_of_the_pairs_whatever_the_chunks(monkeypatch):
    monkeypatch.setattr(templates, "_PAIR_CHUNK", 7)
    pooled = templates.pool(*make_images(2))
    rng = np.random.default_rng(3)
    first, second = rng.choice(pooled.identifiers, (2, 100))
    vectors = dict(zip(pooled.identifiers.tolist(), pooled.features, strict=True))
    expected = [vectors[a] @ vectors[b] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    np.testing.assert_allclose(templates.pair_scores(pooled, first, second), expected, rtol=1e-12, atol=1e-14)


def curve_reference(scores, same):
    """Points of every threshold, by counting."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        accepted = scores >= threshold
        points.append((accepted[~same].mean(), accepted[same].mean()))
    return np.array(points)


@pytest.mark.parametrize("digits", [1, 3, 12])
def test_curve_and_readings(digits):
    rng = np.random.default_rng(digits)
    same = rng.random(150) < 0.3
    scores = (rng.standard_normal(150) + same).round(digits)
    expected = curve_reference(scores, same)
    whole = templates.roc(scores, same, drop_intermediate=False)
    np.testing.assert_allclose(np.stack(whole, 1), expected, atol=1e-15)
    positive, negative = scores[same][:, None], scores[~same]
    assert whole.auc == pytest.approx((positive > negative).mean() + (positive == negative).mean() / 2)

    corners = templates.roc(scores, same)
    steps = np.diff(expected[1:], axis=0)  # (0, 0) is never dropped
    turns = [True, True, *(~np.isclose(steps[1:], steps[:-1]).all(1)), True]
    np.testing.assert_allclose(np.stack(corners, 1), expected[turns], atol=1e-15)
    assert corners.auc == pytest.approx(whole.auc)

    for curve in (whole, corners):
        for level, far, tar in zip(templates.FAR_LEVELS, *templates.read_curve(curve), strict=True):
            points = list(zip(curve.far.tolist(), curve.tar.tolist(), strict=True))
            assert (far, tar) == min(points, key=lambda point: (abs(point[0] - level), -point[0], -point[1]))


def test_verification_reads_corners_unless_told_otherwise():
    pooled = templates.pool(*make_images(4))
    rng = np.random.default_rng(4)
    pairs = Pairs(*rng.choice(pooled.identifiers, (2, 300)), rng.random(300) < 0.3)
    lengths = []
    for reading in templates.READINGS:
        result = templates.verify_templates(pooled, pairs, levels=(0.01, 0.2), reading=reading)
        np.testing.assert_array_equal(result.scores, templates.pair_scores(pooled, pairs.first, pairs.second))
        curve = templates.roc(result.scores, pairs.same, drop_intermediate=reading == "official")
        np.testing.assert_array_equal(np.stack(result.roc), np.stack(curve))
        np.testing.assert_array_equal((result.far, result.tar), templates.read_curve(curve, (0.01, 0.2)))
        lengths.append(len(curve.far))
    assert lengths[0] < lengths[1] == len(np.unique(result.scores)) + 1


def test_of_two_points_that_are_equally_near_the_one_with_the_larger_far_is_read():
    curve = templates.Roc(np.array([0, 0.25, 0.25, 0.75, 1]), np.array([0, 0.1, 0.2, 0.6, 1]))
    assert np.stack(templates.read_curve(curve, (0.5, 0.3)), 1).tolist() == [[0.75, 0.6], [0.25, 0.2]]


def identified_reference(gallery, gallery_subjects, probes, probe_subjects, ranks, levels):
    similarity = probes @ gallery.T
    mated, unmated = [], []
    for i, subject in enumerate(probe_subjects):
        own = [similarity[i, j] for j in range(len(gallery)) if gallery_subjects[j] == subject]
        others = [similarity[i, j] for j in range(len(gallery)) if gallery_subjects[j] != subject]
        if own:
            mated.append((max(own), 1 + sum(other >= max(own) for other in others)))
        else:
            unmated.append(max(others))
    rates = []
    for level in levels:  # the lowest threshold that lets no more than its share through
        thresholds = [t for t in [-2, *unmated] if np.mean([score > t for score in unmated]) <= level]
        rates.append(np.mean([score > min(thresholds) for score, _ in mated]))
    return [np.mean([rank <= at for _, rank in mated]) for at in ranks], rates


def test_identification(monkeypatch):
    monkeypatch.setattr(templates, "_CHUNK", 16)
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((40, 12))

    def faces(subjects):
        vectors = centres[subjects] + rng.standard_normal((len(subjects), 12))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    gallery_subjects, probe_subjects = np.r_[np.arange(25), 3, 3], rng.integers(0, 40, 150)
    arguments = (faces(gallery_subjects), gallery_subjects, faces(probe_subjects), probe_subjects)
    levels = (0, 0.01, 0.1, 0.3, 1)
    found = templates.identify(*arguments, ranks=(1, 5, 10), fpir_levels=levels)
    rank_rate, tpir = identified_reference(*arguments, (1, 5, 10), levels)
    np.testing.assert_allclose(found.rank_rate, rank_rate)
    np.testing.assert_allclose(found.tpir, tpir)
    assert 0.3 < found.rank_rate[0] < found.rank_rate[2] < 1 and 0 < found.tpir[1] < found.tpir[2] < found.tpir[4] == 1


def test_a_constant_embedding_identifies_nobody():
    found = templates.identify(np.ones((4, 2)), [0, 1, 2, 3], np.ones((5, 2)), [0, 1, 2, 3, 9], ranks=(1, 4))
    assert found.rank_rate.tolist() == [0, 1] and found.tpir.tolist() == [0, 0]


def test_what_cannot_be_judged_is_one_clear_error():
    images = make_images(6)
    pooled = templates.pool(*images)
    names = pooled.identifiers
    with pytest.raises(UserError, match=r"^pair 2 .* names template 9999, which has no image$"):
        templates.verify_templates(pooled, Pairs(names[:3], np.r_[names[:2], 9999], np.array([True, False, True])))
    for array in (0, 1, 2):  # features, mirrored, scores
        broken = [np.array(values) for values in images]
        broken[array][41] = np.nan
        with pytest.raises(UserError, match=r"^image 41 .*not finite$"):
            templates.pool(*broken)
    for same in (np.ones(3, bool), np.zeros(3, bool)):
        with pytest.raises(UserError, match="of one person and of two"):
            templates.roc(np.arange(3), same)
    gallery = Templates(np.arange(2), np.eye(2))
    for subjects in ([7, 8], [0, 1]):
        with pytest.raises(UserError, match="2 probes are of a subject of the gallery"):
            templates.identify(gallery.features, [0, 1], np.eye(2), subjects)
    assert templates.identify(gallery.features, [0, 1], np.eye(2), [0, 1], fpir_levels=()).rank_rate[0] == 1
    with pytest.raises(ValueError, match=r"expected some of .*, got no_mirror"):
        templates.pool(*images, switches=("no_mirror",))
    with pytest.raises(ValueError, match="expected one of official, all_thresholds"):
        templates.verify_templates(pooled, None, reading="exact")
    with pytest.raises(ValueError, match="mirrored"):
        templates.pool(images[0], images[1][:5], *images[2:])
    with pytest.raises(ValueError, match="as many scores, templates and media"):
        templates.pool(*images[:2], images[2][:5], *images[3:])


POINTS = " ".join(f"{i}.5" for i in range(10))
MEDIA, SCORES = "1.jpg 4 7\n\nmy 2.jpg 5 8\n", f"1.jpg {POINTS} 0.9\nmy 2.jpg {POINTS} 0.8\n"


def test_lists_as_they_ship(tmp_path):
    (tmp_path / "media.txt").write_text(MEDIA)
    (tmp_path / "points.txt").write_text(SCORES)
    images = templates.read_images(tmp_path / "media.txt", str(tmp_path / "points.txt"))
    assert images.names == ("1.jpg", "my 2.jpg")
    assert (images.templates.tolist(), images.media.tolist()) == ([4, 5], [7, 8])
    np.testing.assert_array_equal(images.landmarks[1], np.arange(10).reshape(5, 2) + 0.5)
    np.testing.assert_array_equal(images.detector_scores, np.float32([0.9, 0.8]))
    (tmp_path / "pairs.txt").write_text("4 5 0\n\n4 4 1")
    pairs = templates.read_pairs(tmp_path / "pairs.txt")
    assert [array.tolist() for array in pairs] == [[4, 4], [5, 4], [False, True]]


@pytest.mark.parametrize(
    "media, points, told",
    [
        ("1.jpg 4\n", SCORES, r"media.txt, line 1: '1.jpg 4' has 2 words, not 3"),
        ("1.jpg 4 7\nmy 2.jpg 5 x\n", SCORES, "media.txt, line 2: '5 x' is not a whole number each"),
        (MEDIA, SCORES.replace("0.8", "nan"), r"points.txt, line 2: '0.5 .*' is not five points and a score"),
        (MEDIA, SCORES.replace(" 0.9", ""), r"points.txt, line 1: .* has 11 words, not 12"),
        (
            MEDIA,
            SCORES.replace("my", "his"),
            r"media.txt, line 3 has the image my 2.jpg, but .*line 2, has his",
        ),
        (MEDIA, SCORES[: SCORES.index("my")], "line 3 has the image my 2.jpg, but .*points.txt, at its end"),
        (MEDIA[:10], SCORES, r"points.txt, line 2 has the image my 2.jpg that is missing in .*media.txt"),
        ("", "", "media.txt names no image"),
    ],
)
def test_a_malformed_list_is_named_with_its_line(tmp_path, media, points, told):
    (tmp_path / "media.txt").write_text(media)
    (tmp_path / "points.txt").write_text(points)
    with pytest.raises(UserError, match=told):
        templates.read_images(tmp_path / "media.txt", tmp_path / "points.txt")


@pytest.mark.parametrize(
    "text, told",
    [
        ("1 2 1\n3 4\n", "pairs.txt, line 2: '3 4' has 2 words, not 3"),
        ("1 2 1\n\n3 four 0\n", "pairs.txt, line 3: '3 four 0' is not two templates and 0 or 1"),
        ("1 2 2\n", "pairs.txt, line 1: '1 2 2' is not"),
        ("1 2 1\n# 3 1\n", "pairs.txt, line 2: '# 3 1' is not"),
        ("1 99999999999 1\n", "pairs.txt, line 1: '1 99999999999 1' is not"),
        ("", "pairs.txt names no pair"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_malformed_list_of_pairs_is_named_with_its_line(tmp_path, text, told):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(UserError, match=told):
        templates.read_pairs(tmp_path / "pairs.txt")


def test_a_list_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe1 2 1\n")
    for name in ("missing.txt", "binary.txt"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            templates.read_pairs(tmp_path / name)
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            templates.read_images(tmp_path / name, tmp_path / name)
