"""The protocol of IJB against the official script, from its text files to the row of its table."""

import golden
import measured
import numpy as np
import pytest

from facejax.data import align
from facejax.evaluation import templates

FLOAT32 = 1e-6  # the official template of points is float32
FLOAT64 = 1e-10


@pytest.fixture(scope="module")
def vectors(goldens):
    return goldens("ijb")


@pytest.fixture(scope="module")
def lists(vectors, tmp_path_factory):
    """The text files as read back."""
    paths = {name: tmp_path_factory.mktemp("meta") / f"{name}.txt" for name in ("tid_mid", "name_5pts_score")}
    paths["pair_label"] = tmp_path_factory.mktemp("meta") / "pair_label.txt"
    for name, path in paths.items():
        path.write_text(str(vectors[f"text/{name}"]))
    images = templates.read_images(paths["tid_mid"], paths["name_5pts_score"])
    return images, templates.read_pairs(paths["pair_label"])


def judged(vectors, lists, *switches, reading="official"):
    """Features to result, with what the files say."""
    images, pairs = lists
    features, mirrored = np.split(vectors["features"], 2, axis=1)
    pooled = templates.pool(
        features, mirrored, images.detector_scores, images.templates, images.media, switches=switches
    )
    levels = vectors["far_levels"]
    return pooled, templates.verify_templates(pooled, pairs, levels=levels, reading=reading)


def test_the_three_files(vectors, lists):
    images, pairs = lists
    np.testing.assert_array_equal(images.templates, vectors["templates"])
    np.testing.assert_array_equal(images.media, vectors["media"])
    np.testing.assert_array_equal(images.detector_scores, vectors["detector_scores"].astype(np.float32))
    np.testing.assert_array_equal(images.landmarks[:6], vectors["align/landmarks"].astype(np.float32))
    np.testing.assert_array_equal(np.stack(pairs, 1), vectors["pairs"])


def test_templates_scores_and_readings(vectors, lists):
    pooled, result = judged(vectors, lists)
    np.testing.assert_array_equal(pooled.identifiers, vectors["template_ids"])
    measured.close("ijb template features", pooled.features, vectors["template_features"], 1e-7)
    measured.close("ijb scores", result.scores, vectors["scores"], 1e-7)
    measured.close("ijb ROC, FAR", result.roc.far, vectors["roc_far"], FLOAT64)
    measured.close("ijb ROC, TAR", result.roc.tar, vectors["roc_tar"], FLOAT64)
    measured.relative("ijb AUC", result.roc.auc, vectors["auc"], FLOAT64)
    measured.close("ijb readings, FAR", result.far, vectors["read_far"], FLOAT64)
    measured.close("ijb readings, TAR", result.tar, vectors["read_tar"], FLOAT64)
    assert [f"{100 * tar:.2f}" for tar in result.tar] == vectors["table_row"].tolist()
    whole = judged(vectors, lists, reading="all_thresholds")[1]
    measured.close("ijb readings at all thresholds", whole.tar, vectors["read_tar_all_thresholds"], FLOAT64)
    assert whole.roc.auc == pytest.approx(result.roc.auc)


@pytest.mark.parametrize("switch", templates.SWITCHES)
def test_switches(vectors, lists, switch):
    _, result = judged(vectors, lists, switch)
    measured.close(f"ijb {switch} scores", result.scores, vectors[f"{switch}/scores"], 1e-7)
    measured.close(f"ijb {switch} readings", result.tar, vectors[f"{switch}/read_tar"], FLOAT64)


def test_reading_of_twenty_thousand_pairs(vectors):
    seed = int(vectors["seed"])
    same = golden._rng(seed, "roc_label").random(20000) < 0.1
    scores = 0.15 * golden.normal("roc_noise", [20000], seed).astype(np.float64) + 0.35 * same
    lengths = []
    for kind, values in (("tied", scores.round(3)), ("untied", scores)):
        for suffix, drop in (("", True), ("_all_thresholds", False)):
            curve = templates.roc(values, same, drop_intermediate=drop)
            found = np.stack(templates.read_curve(curve, vectors["far_levels"]), 1)
            measured.close(f"ijb readings of {kind}{suffix}", found, vectors[f"roc/{kind}_read{suffix}"], FLOAT64)
            lengths.append(len(curve.far))
    assert sorted(lengths) == sorted(vectors["roc/points"].tolist())


def test_alignment(vectors, lists):
    landmarks = lists[0].landmarks[:6]
    matrices = np.stack([align.onto_template(points) for points in landmarks])
    measured.close("ijb alignment, template", align.TEMPLATE_112, vectors["align/target"], FLOAT32)
    measured.close("ijb alignment, five points", matrices, vectors["align/matrices"], FLOAT32)
    found = align.onto_template(vectors["align/landmarks68"])
    measured.close("ijb alignment, 68 points", found, vectors["align/matrix68"], FLOAT32)

    y, x = np.mgrid[0:180, 0:180]
    waves = np.sin(np.stack([x / 17 + y / 29, y / 13 - x / 31, x / 23 + 1], -1))
    bgr = np.round(127.5 + 127.5 * waves).astype(np.uint8)
    blob = align.align_with_mirror(bgr[:, :, ::-1], landmarks[0]).transpose(0, 3, 1, 2)
    difference = np.abs(blob.astype(int) - vectors["align/blob0"])
    # In grey levels. OpenCV 4 rounds positions to 1/32 pixel, which is up to 4 levels at the black border.
    assert difference.max() <= 4 and (difference > 2).mean() < 0.01
