"""PCL as the loop sees it: a tiny network on random pictures. The numbers are checked in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tiny_pcl
from random_inputs import generator

from facejax import losses, methods
from facejax.methods import pcl, simclr

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def rng():
    return generator()


class Trained:
    """A few steps, each with its metrics."""

    def __init__(self, config, rng, steps):
        self.config = config
        self.method = methods.create(config, steps_per_epoch=tiny_pcl.STEPS_PER_EPOCH, total_steps=200)
        self.batch, self.key = tiny_pcl.get_batch(rng, config), jax.random.key(1)
        self.step = jax.jit(self.method.train_step)
        self.states, self.metrics = [jax.jit(self.method.init)(jax.random.key(0), self.batch)], []
        for _ in range(steps):
            state, metrics = self.step(self.states[-1], self.batch, self.key)
            self.states.append(state)
            self.metrics.append(jax.device_get(metrics))


def without_network(method):
    """Images count as their own features."""
    method._branch = lambda branch, params, images: images
    method._train = lambda name, params, statistics, features, branch: (features, statistics)


@pytest.fixture(scope="module")
def trained(rng):
    config = tiny_pcl.get_config()
    # So few images are soon told apart: at the paper's temperature their losses would be 0 but for rounding.
    config.loss.temperature = 0.5
    return Trained(config, rng, steps=30)


@pytest.fixture(scope="module")
def trained_simclr(rng):
    return Trained(tiny_pcl.get_simclr_config(), rng, steps=5)


def test_parts_take_as_many_steps_as_they_have_losses(trained):
    counts = {part: int(state[1].count) for part, state in trained.states[5].opt_state["adam"].items()}
    expected = {"trunk": 15, "face_branch": 10, "pose_branch": 10}
    expected |= dict.fromkeys(("face_projection", "pose_projection", "decoder"), 5)
    assert counts == expected
    assert trained.states[5].step == 5


def test_learns(trained):
    """The same pictures over and over: they are drawn better and better."""
    drawn = [metrics["decoder"] for metrics in trained.metrics]
    assert np.mean(drawn[-5:]) < 0.9 * np.mean(drawn[:5])


def test_metrics_add_up(trained):
    for metrics in trained.metrics:
        assert all(value.dtype == np.float32 and np.isfinite(value) for value in metrics.values())
        decoder = sum(metrics[f"l1_{name}"] for name in ("s_f", "f_s", "s_s", "f_f")) + metrics["orthogonality"]
        contrasts = sum(metrics[f"{name}_weight"] * metrics[name] for name in ("face", "pose"))
        np.testing.assert_allclose(metrics["decoder"], decoder, rtol=1e-5)
        np.testing.assert_allclose(metrics["total"], decoder + contrasts, rtol=1e-5)


def test_contrasts_are_weighted_by_epoch(trained):
    found = np.array([[m["face_weight"], m["pose_weight"]] for m in trained.metrics])
    raw = np.array([[m["face"], m["pose"]] for m in trained.metrics])
    means = raw.reshape(-1, tiny_pcl.STEPS_PER_EPOCH, 2).mean(1)
    np.testing.assert_array_equal(found[: 2 * tiny_pcl.STEPS_PER_EPOCH], 1)
    for step in range(2 * tiny_pcl.STEPS_PER_EPOCH, len(found)):
        epoch = step // tiny_pcl.STEPS_PER_EPOCH
        expected = 2 * scipy.special.softmax(means[epoch - 1] / means[epoch - 2] / 2)
        np.testing.assert_allclose(found[step], expected, rtol=1e-5, atol=1e-6)


def test_goes_on_from_a_saved_state_with_the_same_bits(trained):
    saved = jax.tree.map(np.array, trained.states[5])
    state, metrics = trained.step(saved, trained.batch, trained.key)
    jax.tree.map(np.testing.assert_array_equal, (state, metrics), (trained.states[6], trained.metrics[5]))


def test_every_step_draws_anew(trained):
    state = trained.states[5]
    _, metrics = trained.step(state.replace(step=state.step + 10), trained.batch, trained.key)
    assert metrics["decoder"] != trained.metrics[5]["decoder"]


def test_encode(trained, rng):
    images = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
    encode = jax.jit(trained.method.encode)
    features = encode(trained.states[-1].variables, images)
    assert {name: (x.shape, x.dtype) for name, x in features.items()} == dict.fromkeys(
        ("trunk", "face", "pose"), ((3, 8), jnp.float32)
    )
    alone = encode(trained.states[-1].variables, np.stack([images[1]] * 3))
    for name in features:
        np.testing.assert_allclose(features[name][1], alone[name][0], rtol=1e-4, atol=1e-6)


def test_pictures(trained, rng):
    images = rng.integers(0, 256, (5, 16, 16, 3), np.uint8)
    variables = trained.states[-1].variables
    pictures = jax.jit(trained.method.pictures)(variables, images)
    rows = {name: np.split(picture, picture.shape[2] // 16, axis=2) for name, picture in pictures.items()}
    assert {name: len(row) for name, row in rows.items()} == {"reconstructions": 6, "pose_swaps": 7}
    assert {name: len(caption.columns) for name, caption in trained.method.captions.items()} == {
        name: len(row) for name, row in rows.items()
    }
    np.testing.assert_array_equal(rows["reconstructions"][0], images)
    np.testing.assert_array_equal(rows["reconstructions"][1], images[:, :, ::-1])
    np.testing.assert_array_equal(rows["pose_swaps"][0], images)
    features = trained.method.encode(variables, images)
    decode = jax.jit(functools.partial(trained.method.network.apply, train=False, method="decode"))
    for shift in (1, 2, 3):
        np.testing.assert_array_equal(rows["pose_swaps"][2 * shift - 1], np.roll(images, -shift, axis=0))
        drawn = decode(variables, features["face"], np.roll(features["pose"], -shift, axis=0))
        expected = 255 * jax.image.resize(drawn, images.shape, "bilinear").clip(0, 1)
        np.testing.assert_allclose(rows["pose_swaps"][2 * shift], expected, atol=1)
    assert pictures["pose_swaps"].dtype == np.uint8


def test_simclr_has_the_face_branch_alone(trained_simclr, rng):
    run = trained_simclr
    assert set(run.states[0].params) == {"trunk", "face_branch", "face_projection"}
    assert set(run.states[0].statistics["batch_stats"]) == {"face_projection"}
    assert all(np.isfinite(metrics["face"]) and metrics["face_weight"] == 1 for metrics in run.metrics)
    variables, images = run.states[-1].variables, rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
    assert set(run.method.encode(variables, images)) == {"trunk", "face"}
    assert run.method.pictures(variables, images) == {}


def test_simclr_loss(trained_simclr, rng):
    method = simclr.SimCLR(trained_simclr.config, steps_per_epoch=2, total_steps=2)
    features = rng.normal(size=(2, 8, 6)).astype(np.float32)
    without_network(method)
    loss, _, _ = method.face_loss({}, {}, {"views": jnp.asarray(features)})
    np.testing.assert_allclose(loss, losses.info_nce(features.reshape(16, 6), 0.07), rtol=1e-6)


@pytest.mark.parametrize("negatives_of", ["own_image", "all_images"])
def test_whose_negatives_an_anchor_meets(rng, negatives_of):
    config = tiny_pcl.get_config()
    config.loss.negatives_of = negatives_of
    method = pcl.PCL(config, steps_per_epoch=2, total_steps=2)
    without_network(method)
    views, negatives = rng.normal(size=(2, 3, 6)), rng.normal(size=(3 * 4, 6))
    mix, permutation = rng.random((3, 4)), rng.permutation(4)
    loss, _, _ = method.pose_loss(
        {}, {}, {"views": views, "negatives": jnp.asarray(negatives), "mix": mix, "permutation": permutation}
    )

    by_image = negatives.reshape(3, 4, 6)
    if negatives_of == "all_images":  # stacked augmentation by augmentation, cut image by image
        by_image = np.concatenate([by_image[:, q] for q in range(4)]).reshape(3, 4, 6)
    terms = []
    for image in range(3):
        mixed = mix[image][:, None] * by_image[image] + (1 - mix[image][:, None]) * by_image[image][permutation]
        for anchor, positive in (views[:, image], views[::-1, image]):
            others = np.stack([positive, *mixed])
            cosines = others @ anchor / np.linalg.norm(others, axis=1) / np.linalg.norm(anchor) / 0.07
            terms.append(np.log(np.exp(cosines).sum()) - cosines[0])
    np.testing.assert_allclose(loss, np.mean(terms), rtol=1e-4)


def test_corners():
    sizes = jax.random.randint(jax.random.key(generator().integers(2**31)), (4000, 2), 5, 200)
    boxes = [np.asarray(b) for b in pcl.random_corners(jax.random.key(3), sizes)]
    sizes = np.asarray(sizes)
    radius, half = sizes // 5, sizes // 2
    quadrants = []
    for box in boxes:
        np.testing.assert_array_equal(box[:, 2:], 2 * radius)
        quadrant = (box[:, :2] + radius >= half).astype(int)
        low = quadrant * half
        assert (box[:, :2] >= low).all()
        assert (box[:, :2] + box[:, 2:] <= low + half).all()
        quadrants.append(2 * quadrant[:, 0] + quadrant[:, 1])
    pairs = np.bincount(4 * quadrants[0] + quadrants[1], minlength=16).reshape(4, 4)
    assert not np.diag(pairs).any()
    assert (np.abs(pairs[~np.eye(4, dtype=bool)] - 4000 / 12) < 100).all()  # more than five standard deviations
    large = sizes.min(1) > 150
    assert len(np.unique(boxes[0][large, 0] - (quadrants[0][large] // 2) * half[large, 0])) > 10  # they move


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.6])
def test_symmetric_beta(alpha):
    key = jax.random.key(generator().integers(2**31))
    drawn = np.asarray(pcl.symmetric_beta(key, alpha, (100, 200)), np.float64)
    distance = scipy.stats.kstest(drawn.ravel(), scipy.stats.beta(alpha, alpha).cdf).statistic
    assert distance < 3 / np.sqrt(drawn.size)  # exceeded once in 10^7


def test_decoder_warms_up_alone(rng):
    """In the first epoch only the decoder's update is made, on three reconstructions; then all go on as ever."""
    config = tiny_pcl.get_config()
    config.decoder_warmup_epochs, config.loss.temperature = 1, 0.5
    run = Trained(config, rng, steps=3)

    def counts(state):
        return {part: int(moments[1].count) for part, moments in state.opt_state["adam"].items()}

    alone = dict.fromkeys(("trunk", "face_branch", "pose_branch", "decoder"), tiny_pcl.STEPS_PER_EPOCH)
    assert counts(run.states[2]) == alone | {"face_projection": 0, "pose_projection": 0}
    assert counts(run.states[3])["face_projection"] == 1 and counts(run.states[3])["trunk"] == 5
    warm, ever = run.metrics[0], run.metrics[2]
    assert warm.keys() == ever.keys() and warm["face"] == warm["pose"] == 0
    np.testing.assert_allclose(warm["total"], sum(warm[f"l1_{name}"] for name in ("s_f", "f_s", "s_s")), rtol=1e-6)
    assert ever["face"] > 0 and ever["face_weight"] == 1
    assert not np.asarray(run.states[2].opt_state["loss_weights"]["sum"]).any()


def test_contrasts_can_weigh_the_same(rng):
    config = tiny_pcl.get_config()
    config.loss.dynamic_weights, config.loss.temperature = False, 0.5
    run = Trained(config, rng, steps=5)
    assert all(metrics["face_weight"] == metrics["pose_weight"] == 1 for metrics in run.metrics)
