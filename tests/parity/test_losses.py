"""Losses given alone, and their gradients, against the official implementations: 2e-5 of the largest magnitude."""

import golden
import jax
import jax.numpy as jnp
import measured
import numpy as np
import optax
import pytest

from facejax import losses
from facejax.losses.contrastive import mixed_logits, pose_logits


def close(label, value, expected, tolerance=2e-5):
    measured.close(f"{label} in float32", value, expected, tolerance)


@pytest.fixture(scope="module")
def pcl(goldens):
    return goldens("pcl")


def test_mixed_info_nce(pcl):
    features = golden.normal("face_features", [8, 16], int(pcl["seed"]))
    value, slope = jax.value_and_grad(losses.mixed_info_nce)(features, pcl["face_nce/mix"], pcl["face_nce/perm"])
    close("face_nce/loss", value, pcl["face_nce/loss"])
    close("face_nce/grad", slope, pcl["face_nce/grad"])
    logits = mixed_logits(features, pcl["face_nce/mix"], pcl["face_nce/perm"], 0.07)
    close("face_nce/logits", logits, pcl["face_nce/logits"])


def test_pose_info_nce(pcl):
    seed = int(pcl["seed"])
    features, negatives = golden.normal("pose_features", [6, 16], seed), golden.normal("pose_negatives", [15, 16], seed)
    loss = jax.value_and_grad(losses.pose_info_nce, argnums=(0, 1))
    value, (slope, negative_slope) = loss(features, negatives, pcl["pose_nce/mix"], pcl["pose_nce/perm"])
    close("pose_nce/loss", value, pcl["pose_nce/loss"])
    close("pose_nce/grad_features", slope, pcl["pose_nce/grad_features"])
    close("pose_nce/grad_negatives", negative_slope, pcl["pose_nce/grad_negatives"])
    logits = pose_logits(features, negatives, pcl["pose_nce/mix"], pcl["pose_nce/perm"], 0.07)
    close("pose_nce/logits", logits, pcl["pose_nce/logits"])


def test_orthogonality(pcl):
    face, pose = (golden.normal(name, [8, 16], int(pcl["seed"])) for name in ("ortho_face", "ortho_pose"))
    value, (face_slope, pose_slope) = jax.value_and_grad(losses.orthogonality, argnums=(0, 1))(face, pose)
    close("ortho/loss", value, pcl["ortho/loss"])
    close("ortho/grad_face", face_slope, pcl["ortho/grad_face"])
    close("ortho/grad_pose", pose_slope, pcl["ortho/grad_pose"])


def test_cosface(goldens):
    lafs = goldens("lafs")
    seed, labels = int(lafs["seed"]), np.array([1, 4, 9, 0])
    embedding = golden.normal("cosface_embedding", [4, 32], seed)
    weight = golden.param("cosface/weight", (10, 32), seed)

    def loss(embedding, weight):
        logits = losses.cosface(embedding, weight, labels)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), logits

    (value, logits), slopes = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(embedding, weight)
    close("cosface/logits", logits, lafs["cosface/logits"])
    close("cosface/loss", value, lafs["cosface/loss"])
    close("cosface/grad_embedding", slopes[0], lafs["cosface/grad_embedding"])
    close("cosface/grad_weight", slopes[1], lafs["cosface/grad_weight"])


def test_dino(goldens):
    lafs = goldens("lafs")
    student, teacher = lafs["dino/student_logits"].reshape(6, 3, -1), lafs["dino/teacher_logits"].reshape(2, 3, -1)
    center = np.zeros(student.shape[-1])
    loss = losses.dino(student, teacher, center, teacher_temperature=0.07)
    close("dino loss", loss, lafs["it0/loss"], 1e-6)
    close("dino center", losses.update_center(center, teacher), lafs["it0/center"][0])


@pytest.mark.parametrize("distance", ["smooth_l1", "l1", "l2"])
def test_star(goldens, distance):
    vectors = goldens("metrics_losses")
    name = "star/" + distance.replace("_", "")
    value, slope = jax.value_and_grad(losses.star)(vectors["star/heatmap"], vectors["star/landmarks"], distance)
    close(f"{name}/loss", value, vectors[f"{name}/loss"])
    close(f"{name}/grad", slope, vectors[f"{name}/grad"])


def test_adaptive_wing(goldens):
    vectors = goldens("metrics_losses")
    seed = int(vectors["seed"])
    prediction, target = (
        1 / (1 + np.exp(-golden.normal(name, [2, 5, 32, 32], seed).astype(np.float64)))
        for name in ("aw_pred", "aw_true")
    )
    value, slope = jax.value_and_grad(losses.adaptive_wing)(jnp.asarray(prediction, jnp.float32), target)
    close("awing/loss", value, vectors["awing/loss"])
    norm, projection = golden.grad_summary("awing", slope, seed)
    expected_norm, expected_projection = vectors["awing/grad"]
    assert abs(norm / expected_norm - 1) < 2e-5
    assert abs(projection - expected_projection) / expected_norm < 2e-5
