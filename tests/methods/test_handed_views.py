"""What each method's train step hands to its network: views, keys, modes. A recorder takes the network's place.

The recorder makes numbers of the right shapes from what it is given, so that the step runs to its end; what it was
given comes out of the jitted step. Images are numbered by their red channel: record i has red = i everywhere.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shape_checks

from experiments import fra_r50, lafs_finetune, lafs_part_fvit, pcl_voxceleb
from experiments.alignment import w300
from experiments.finetune import rafdb
from facejax.data import photometry
from facejax.methods import alignment, finetune, fra, lafs, pcl, supervised
from facejax.train_state import TrainState

SIZE = 16
PLAIN = {f"{name}_probability": 0.0 for name in ("jitter", "grey", "blur", "solarize")}
GREY = PLAIN | {"grey_probability": 1.0}


class Recorder:
    """Collects what `apply` of a network is called with, and answers with `respond`."""

    def __init__(self, respond):
        self.calls, self._respond = [], respond

    def apply(self, variables, inputs, *modes, **settings):
        self.calls.append({"variables": variables, "inputs": inputs, "modes": modes, **settings})
        return self._respond(variables, inputs, settings)


def batch_of(count, size=SIZE):
    """Images whose red is their number, green a ramp from left to right, blue a ramp from top to bottom."""
    image = np.zeros((count, size, size, 3), np.uint8)
    image[..., 0] = np.arange(count)[:, None, None]
    image[..., 1] = np.linspace(0, 255, size).astype(np.uint8)
    image[..., 2] = np.linspace(0, 255, size).astype(np.uint8)[:, None]
    return {"image": jnp.asarray(image), "size": jnp.full((count, 2), size, jnp.int32)}


def new_state(params, **fields):
    fields = {"statistics": {}, "target": None, "opt_state": None} | fields
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, **fields)


def recorded(step, recorders, state, batch, key=0, at=0):
    """Runs the step number `at` and gives the calls of each recorder, arrays only."""

    @jax.jit
    def run(state, batch):
        for recorder in recorders.values():
            recorder.calls.clear()
        _, metrics = step(state, batch, jax.random.key(key))
        arrays = {
            name: [
                {part: value for part, value in call.items() if part in ("inputs", "rngs")} for call in recorder.calls
            ]
            for name, recorder in recorders.items()
        }
        return arrays, metrics

    return run(state.replace(step=jnp.asarray(at, jnp.int32)), batch)


def different(a, b):
    return float(jnp.abs(jnp.asarray(a, jnp.float32) - jnp.asarray(b, jnp.float32)).max()) > 1e-3


def keys_of(call):
    return np.asarray(jax.random.key_data(call["rngs"]["dropout"]))


# --- FRA


class FRA:
    """A step of FRA whose view 2 is solarised (at 128) and whose view 1 is not."""

    def __init__(self):
        config = fra_r50.get_config()
        config.image_size = SIZE
        config.model.update(backbone="resnet18", output_stride=8, decoder_heads=2, embedding_dim=8, num_regions=3)
        config.mean, config.std = (0.0,) * 3, (1.0,) * 3
        for view in (config.view1, config.view2):
            view.update(PLAIN, flip=0.5)
        config.view2.solarize_probability = 1.0
        self.method = fra.FRA(config, steps_per_epoch=2, total_steps=4)
        self.method.network = self.network = Recorder(self.respond)
        params = {"w": jnp.zeros(3)}
        self.state = new_state(
            params, statistics={"s": {"x": jnp.zeros(1)}}, target={"params": params, "s": {"x": jnp.zeros(1)}},
            opt_state=self.method.optimizer.init(params),
        )  # fmt: skip

    @staticmethod
    def respond(variables, images, settings):
        seen = images.mean((1, 2)) + variables["params"]["w"]
        outputs = {"global": seen, "regions": seen[:, None], "dots": seen[:, None, None]}
        outputs |= {"global_prediction": seen, "region_prediction": seen[:, None]}
        return outputs, {name: variables[name] for name in settings["mutable"]}

    def views(self, **where):
        """The two views, each [B, S, S, 3], of the online and of the target network, and their dropout keys."""
        calls, _ = recorded(self.method.train_step, {"network": self.network}, self.state, batch_of(6), **where)
        online, target = calls["network"]
        return [(call["inputs"][0::2], call["inputs"][1::2]) for call in (online, target)], [
            keys_of(call) for call in (online, target)
        ]


@pytest.fixture(scope="module", autouse=True)
def recorders_replace_networks():
    """A recorder is no Flax module, and what it returns has other shapes."""
    with shape_checks.unchecked():
        yield


@pytest.fixture(scope="module")
def fra_step():
    return FRA()


def test_fra_views(fra_step):
    (online, target), keys = fra_step.views()
    for ours, theirs in zip(online, target, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # both networks see the same two views
    first, second = online
    # View 2 alone is solarised: nothing is left of what is bright.
    assert first.max() > 0.9 and second.max() <= 128 / 255
    # Two keys: crops differ beyond the solarisation, which is undone here where values tell.
    assert different(first[..., 0], second[..., 0]) or different(jnp.minimum(first, 1 - first), second)
    assert not np.array_equal(*keys)  # online and target network drop out differently


def test_fra_views_have_keys_of_their_own(fra_step):
    """With one recipe for both, the same key would make the same view."""
    fra_step.method.config.view2.solarize_probability = 0.0
    try:
        (online, _), _ = fra_step.views()
    finally:
        fra_step.method.config.view2.solarize_probability = 1.0
    assert different(*online)


def test_fra_draws_anew_at_every_step(fra_step):
    (first, _), first_keys = fra_step.views(at=0)
    (second, _), second_keys = fra_step.views(at=1)
    assert different(first[0], second[0]) and different(first[1], second[1])
    assert not np.array_equal(first_keys, second_keys)


def test_fra_drops_out(fra_step):
    fra_step.views()
    for call in fra_step.network.calls:
        assert (call["modes"] or (call["train"],)) == (True,) and "dropout" in call["rngs"]


# --- PCL


def make_pcl(**augmentation):
    config = pcl_voxceleb.get_config()
    config.image_size, config.batch_size = SIZE, 13
    config.batches = {"decoder": 3, "face": 4, "pose": 5}
    config.model.update(width=2, hidden_dim=4, projection_dim=4, decoder_size=8)
    config.loss.pose_negatives = 3
    config.augmentation = augmentation
    return pcl.PCL(config, steps_per_epoch=2, total_steps=2)


@functools.cache
def pcl_inputs(step=0, **augmentation):
    """What every update is given at a step."""
    method, given = make_pcl(**augmentation), {}
    method.update = lambda state, inputs: (state, given.update(inputs) or {})

    @jax.jit
    def run(step):
        method.train_step(new_state({}).replace(step=step), batch_of(13, 40), jax.random.key(0))
        return given

    return run(step)


def records_of(images):
    """Numbers of the records that images of `batch_of` were made of."""
    return np.asarray(jnp.round(255 * images[..., 0].mean((-1, -2)))).astype(int).tolist()


def test_pcl_updates_have_records_of_their_own():
    inputs = pcl_inputs()
    assert records_of(inputs["decoder"]["source"]) == [0, 1, 2]
    assert records_of(inputs["face"]["views"]) == [[3, 4, 5, 6]] * 2
    assert records_of(inputs["pose"]["views"]) == [[7, 8, 9, 10, 11]] * 2
    assert records_of(inputs["pose"]["negatives"]) == np.repeat(range(7, 12), 3).tolist()  # image by image


def test_pcl_negatives_are_mirrored():
    inputs = pcl_inputs()
    anchors, negatives = inputs["pose"]["views"][0], inputs["pose"]["negatives"]
    np.testing.assert_allclose(negatives[::3], anchors[:, :, ::-1], atol=1e-6)
    assert different(negatives[::3], anchors)


def test_pcl_face_views_are_two_corners():
    first, second = pcl_inputs()["face"]["views"]
    assert different(first, second)
    # A window of 16 of 40 pixels shows less than half of each ramp.
    for view in (first, second):
        for channel in (1, 2):
            assert np.ptp(view[..., channel], axis=(1, 2)).max() < 0.5


@pytest.mark.parametrize(("update", "name"), [("face", "views"), ("pose", "views"), ("pose", "negatives")])
def test_pcl_views_are_augmented(update, name):
    images = pcl_inputs(grey_probability=1.0)[update][name]
    np.testing.assert_allclose(np.ptp(images, axis=-1), 0, atol=1e-6)


def test_pcl_augmentations_differ():
    inputs = pcl_inputs(jitter_probability=1.0, jitter=(0.8, 0.0, 0.0, 0.0))
    anchors, negatives = inputs["pose"]["views"], inputs["pose"]["negatives"]
    assert different(anchors[0], anchors[1])
    assert different(negatives[0], negatives[1])
    assert different(negatives[::3, :, ::-1], anchors[0])


def test_pcl_decoder_sees_what_it_draws_with_noise():
    inputs = pcl_inputs(grey_probability=1.0)["decoder"]
    assert np.ptp(inputs["source"], axis=-1).max() > 0.1  # as it is: not augmented
    assert inputs["noise"].shape == (2, 3, SIZE, SIZE, 3)
    assert abs(float(inputs["noise"].std()) - 0.4) < 0.05
    assert different(inputs["noise"][0], inputs["noise"][1])


def test_pcl_draws_anew_at_every_step():
    first, second = pcl_inputs(0), pcl_inputs(1)
    assert different(first["decoder"]["noise"], second["decoder"]["noise"])
    assert different(first["face"]["views"], second["face"]["views"])
    for update in ("face", "pose"):
        assert different(first[update]["mix"], second[update]["mix"])


# --- LAFS


class LAFS:
    """A step of LAFS whose crops lose their colours, and whose landmarks are always the same."""

    POINTS, LOCAL_POINTS, NOISE = 200, 100, 5.0

    def __init__(self, **changes):
        config = lafs_part_fvit.get_config()
        config.image_size, config.dtype, config.num_local = SIZE, "float32", 3
        config.batch_size = 4
        for name in ("global1", "global2", "local"):
            config[name].update(GREY, size=SIZE)
        config.model.update(size="nano", num_points=self.POINTS)
        config.landmark_augmentation.local_points = self.LOCAL_POINTS
        config.head.num_outputs = 2
        config.update_from_flattened_dict(changes)
        self.method = lafs.LAFS(config, steps_per_epoch=2, total_steps=4)
        self.method.network = self.network = Recorder(self.respond)
        self.method.landmark_network = self.landmarks = Recorder(self.points)
        self.sampled = []
        sample = self.method._sample
        self.method._sample = lambda images, points: self.sampled.append((images, points)) or sample(images, points)
        params = {"head": {"last_layer": jnp.zeros((2, 2))}}
        self.state = new_state(
            params,
            target={"params": params},
            frozen={"landmark_network": {}},
            center=jnp.zeros(2),
            opt_state=self.method.optimizer.init(params),
        )

    def points(self, variables, images, settings):
        """Point k at (k, 1000 + k) of every image: far apart, so that the noise does not hide which is which."""
        k = 100.0 * jnp.arange(self.POINTS)
        return jnp.broadcast_to(jnp.stack([k, 1000 + k], -1), (len(images), self.POINTS, 2))

    @staticmethod
    def respond(variables, views, settings):
        logits = jnp.concatenate([tokens.mean((2, 3)).T for tokens in views])[..., None]
        logits = logits + variables["params"]["head"]["last_layer"][0]
        outputs = logits, logits
        return (outputs, {}) if "mutable" in settings else outputs

    def run(self, **where):
        @jax.jit
        def step(state, batch):
            self.sampled.clear()
            for recorder in (self.network, self.landmarks):
                recorder.calls.clear()
            self.method.train_step(state, batch, jax.random.key(0))
            return {
                "landmarks": [call["inputs"] for call in self.landmarks.calls],
                "sampled": list(self.sampled),
                "network": [(call["inputs"], call["rngs"]) for call in self.network.calls],
            }

        return step(self.state.replace(step=jnp.asarray(where.get("at", 0), jnp.int32)), batch_of(4))


@pytest.fixture(scope="module")
def lafs_run():
    lafs_step = LAFS()
    return lafs_step, lafs_step.run(), lafs_step.run(at=1)


def views_of(images, count):
    """[B V, S, S, 3] -> V arrays [B, S, S, 3]."""
    images = images.reshape(-1, count, *images.shape[1:])
    return [images[:, view] for view in range(count)]


def test_lafs_landmarks_are_those_of_the_plain_crop(lafs_run):
    _, seen, _ = lafs_run
    for plain, (colored, _) in zip(seen["landmarks"], seen["sampled"], strict=True):
        assert np.ptp(plain, axis=-1).max() > 0.5 and np.ptp(colored, axis=-1).max() < 1e-5
        # The same crop: its luma is what the coloured one shows.
        luma = photometry.grey((plain + 1) / 2)
        np.testing.assert_allclose((colored + 1) / 2, luma, atol=1e-5)


def test_lafs_points_are_disturbed(lafs_run):
    step, seen, _ = lafs_run
    (_, everywhere), (_, some) = seen["sampled"]
    clean = step.points({}, everywhere, {})
    noise = np.asarray(everywhere - clean)
    assert abs(noise.std() - step.NOISE) < 0.5 and abs(noise.mean()) < 0.5
    assert some.shape == (4 * 3, step.LOCAL_POINTS, 2)
    which = np.asarray(some[..., 0] / 100).round()
    noise = np.asarray(some[..., 0]) - 100 * which
    assert abs(noise.std() - step.NOISE) < 0.5
    assert len(np.unique(which[0])) < step.LOCAL_POINTS  # with replacement
    assert len({tuple(row) for row in which}) == len(which)


def test_lafs_crops_all_differ(lafs_run):
    _, seen, _ = lafs_run
    crops = views_of(seen["landmarks"][0], 2) + views_of(seen["landmarks"][1], 3)
    for index, crop in enumerate(crops):
        for other in crops[:index]:
            assert different(crop, other)


def test_lafs_views_have_recipes_of_their_own():
    step = LAFS(**{"global2.solarize_probability": 1.0, "global2.grey_probability": 0.0, "local.grey_probability": 0.0})
    seen = step.run()
    first, second = views_of(seen["sampled"][0][0], 2)
    (*local,) = views_of(seen["sampled"][1][0], 3)
    assert np.ptp(first, axis=-1).max() < 1e-5  # grey
    assert np.ptp(second, axis=-1).max() > 0.2 and second.max() <= 2 * 128 / 255 - 1  # solarised
    assert all(np.ptp(view, axis=-1).max() > 0.2 and view.max() > 0.5 for view in local)  # neither


def test_lafs_student_sees_all_views_and_teacher_the_global_ones(lafs_run):
    step, seen, _ = lafs_run
    teacher, student = seen["network"]
    assert [tokens.shape[:3] for tokens in teacher[0]] == [(4, 2, step.POINTS)]
    assert [tokens.shape[:3] for tokens in student[0]] == [(4, 2, step.POINTS), (4, 3, step.LOCAL_POINTS)]
    np.testing.assert_array_equal(teacher[0][0], student[0][0])


@pytest.mark.parametrize(("mode", "teacher_drops_out"), [("train", True), ("eval", False)])
def test_lafs_who_drops_out(mode, teacher_drops_out):
    step = LAFS(**{"ema.teacher_mode": mode})
    jax.eval_shape(lambda: step.method.train_step(step.state, batch_of(4), jax.random.key(0)))
    teacher, student = step.network.calls
    assert (teacher["train"], student["modes"]) == (teacher_drops_out, (True,))
    assert all(call["modes"] == (False,) for call in step.landmarks.calls)


def test_lafs_draws_anew_at_every_step(lafs_run):
    _, first, second = lafs_run
    assert different(first["landmarks"][0], second["landmarks"][0])
    assert different(first["sampled"][0][1], second["sampled"][0][1])
    keys = [np.asarray(jax.random.key_data(rngs["dropout"])) for run in (first, second) for _, rngs in run["network"]]
    assert len({tuple(key.ravel()) for key in keys}) == 4


# --- Recognition


class Recognition:
    """A step of fine-tuning whose network answers with the mean colour of an image."""

    def __init__(self, **changes):
        config = lafs_finetune.get_config("demo")
        config.image_size, config.batch_size = SIZE, 4
        config.model.update(num_points=4, landmarks=False)
        config.classifier.update(num_classes=5, scale=8.0)
        config.view.jitter_probability = 0.0
        config.erasing.probability = 0.0
        config.optimizer.groups = "end_to_end"
        config.update_from_flattened_dict(changes)
        self.config = config
        self.method = supervised.Supervised(config, steps_per_epoch=2, total_steps=4)
        self.method.network = self.network = Recorder(lambda variables, images, settings: (images.mean((1, 2)), {}))
        rng = np.random.default_rng(0)
        self.rows = jnp.asarray(rng.normal(size=(256, 3)), jnp.float32)
        params = {"classifier": self.rows}
        self.state = new_state(params, opt_state=self.method.optimizer.init(params))
        self.batch = batch_of(4) | {"identity": jnp.array([3, 0, 4, 1])}

    def run(self, at=0):
        calls, metrics = recorded(self.method.train_step, {"network": self.network}, self.state, self.batch, at=at)
        return calls["network"], metrics


def test_recognition_loss_has_its_margin():
    step = Recognition(**{"classifier.margin": 0.3, "mixup.probability": 0.0})
    (call,), metrics = step.run()
    embeddings, rows = np.asarray(call["inputs"].mean((1, 2)), np.float64), np.asarray(step.rows[:5], np.float64)
    cosines = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)) @ (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ).T
    logits = 8.0 * (cosines - 0.3 * np.eye(5)[np.asarray(step.batch["identity"])])
    right = logits[np.arange(4), np.asarray(step.batch["identity"])]
    np.testing.assert_allclose(metrics["total"], np.mean(np.log(np.exp(logits).sum(1)) - right), rtol=1e-5)


def test_recognition_drops_out_and_draws_anew():
    step = Recognition()
    (first,), _ = step.run()
    assert step.network.calls[0]["modes"] == (True,)
    (second,), _ = step.run(at=1)
    assert different(first["inputs"], second["inputs"])
    assert not np.array_equal(keys_of(first), keys_of(second))


def test_recognition_parts_are_mixed_apart():
    """Each part of an accumulated batch has its own mixup, among the images of that part."""
    step = Recognition(**{"optimizer.accumulation": 2, "mixup.probability": 1.0, "mixup.alpha": 5.0, "view.flip": 0.0})
    step.config.view.crop_scale = (1.0, 1.0)
    with jax.disable_jit():  # so that the parts come one by one and not as the body of a loop
        step.method.train_step(step.state, step.batch, jax.random.key(0))
    # Part 0 has the images 0 and 2 with red 0 and 2, mixed to 2 - 2 x and 2 x; part 1 has 1 and 3.
    red = np.array([255 * (call["inputs"][..., 0].mean((1, 2)) + 1) / 2 for call in step.network.calls])
    shares = (red - [[0], [1]]) / 2
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-3)
    assert 0.01 < shares.min() and shares.max() < 0.99
    assert abs(shares[0, 0] - shares[1, 0]) > 1e-3


def test_recognition_augments_the_whole_image_before_the_crop(monkeypatch):
    step, sizes = Recognition(**{"rand_augment.magnitude": 2.0}), []

    def whole(key, images, **settings):
        sizes.append(images.shape)
        return images

    monkeypatch.setattr(supervised.rand_augment, "rand_augment", whole)
    batch = batch_of(4, SIZE + 5) | {"identity": step.batch["identity"]}
    jax.eval_shape(lambda: step.method.train_step(step.state, batch, jax.random.key(0)))
    assert sizes == [(4, SIZE + 5, SIZE + 5, 3)]
    assert step.network.calls[-1]["inputs"].shape == (4, SIZE, SIZE, 3)


# --- Fine-tuning


class Finetuning:
    """A step of fine-tuning whose network answers with the mean colour of an image, three classes."""

    def __init__(self, **changes):
        config = rafdb.get_config()
        config.image_size, config.batch_size, config.dtype = SIZE, 6, "float32"
        config.classifier.num_classes = 3
        config.mean, config.std = (0.25,) * 3, (0.5,) * 3
        config.view.update(jitter_probability=0.0, flip=0.0, shift_probability=0.0, rotation_probability=0.0)
        config.erasing.probability = 0.0
        config.update_from_flattened_dict(changes)
        self.method = finetune.Finetune(config, steps_per_epoch=2, total_steps=200)
        self.method.network = self.network = Recorder(self.respond)
        params = {"backbone": {"w": jnp.zeros(3)}, "head": {"w": jnp.zeros(3)}}
        self.state = new_state(params, opt_state=self.method.optimizer.init(params))
        self.labels = jnp.array([0, 1, 2, 2, 1, 0])

    @staticmethod
    def respond(variables, images, settings):
        return {"logits": images.mean((1, 2)) + variables["params"]["head"]["w"]}, {}

    def run(self, at=0):
        batch = batch_of(6) | {"expression": self.labels}
        calls, metrics = recorded(self.method.train_step, {"network": self.network}, self.state, batch, at=at)
        return calls["network"][0], metrics


def test_finetuning_sees_whole_images_and_their_labels():
    step = Finetuning()
    call, metrics = step.run()
    np.testing.assert_allclose(call["inputs"], batch_of(6)["image"] / np.float32(127.5) - 0.5, atol=1e-5)
    logits = np.asarray(call["inputs"].mean((1, 2)), np.float64)
    logarithms = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(metrics["total"], -logarithms[np.arange(6), step.labels].mean(), rtol=1e-5)
    assert step.network.calls[-1]["modes"] == (True,)


@pytest.mark.parametrize(
    "changes",
    [
        {"view.flip": 0.5},
        {"view.shift_probability": 1.0},
        {"view.rotation_probability": 1.0},
        {"view.jitter_probability": 1.0},
        {"erasing.probability": 1.0},
    ],
)
def test_finetuning_augments_each_image_anew(changes):
    step, plain = Finetuning(**changes), np.asarray(batch_of(6)["image"]) / 127.5 - 0.5
    first, second = (np.asarray(step.run(at=at)[0]["inputs"]) for at in (0, 1))
    assert different(first, plain) and different(first, second)
    if "erasing.probability" in changes:
        assert ((np.abs(first - plain) < 1e-5) | (first == 0)).all()  # what is painted is 0 after normalisation


def test_finetuning_drops_out_anew():
    step = Finetuning()
    keys = [keys_of(step.run(at=at)[0]) for at in (0, 1)]
    assert not np.array_equal(*keys)


# --- Alignment


class Aligning:
    """A step of alignment whose network finds the points at the middle of their maps."""

    POINTS = 68

    def __init__(self, **changes):
        config = w300.get_config()
        config.image_size, config.batch_size, config.dtype = SIZE, 3, "float32"
        config.landmarks.edges = False
        config.view.update(side=0.5, flip=0.0, shift=0.0, rotation=0.0, scale=0.0)
        config.disturb = dict.fromkeys(config.disturb, 0.0)
        config.update_from_flattened_dict(changes)
        self.method = alignment.Alignment(config, steps_per_epoch=2, total_steps=1000)
        self.method.network = self.network = Recorder(self.respond)
        params = {"w": jnp.ones(())}
        self.state = new_state(params, target={"params": params}, opt_state=self.method.optimizer.init(params))
        rng = np.random.default_rng(0)
        self.points = rng.uniform(0.3, 0.7, (3, self.POINTS, 2)) * 2 * SIZE  # of records twice as large as they arrive

    def respond(self, variables, images, settings):
        maps = jnp.full((1, len(images), self.POINTS, SIZE // 4, SIZE // 4), variables["params"]["w"])
        return {"landmarks": jnp.zeros((1, len(images), self.POINTS, 2)), "heatmaps": maps, "pointmaps": 0.5 * maps}, {}

    def examples(self, at=0):
        """Images and landmarks that a step trains on."""
        batch = batch_of(3, 2 * SIZE)
        batch |= {"landmarks": jnp.asarray(2 * self.points, jnp.float32), "full_size": 2 * batch["size"]}
        rng = jax.random.fold_in(jax.random.key(0), at)
        return jax.jit(self.method.examples)(rng, batch)


def test_alignment_sees_the_middle_blue_first_and_its_landmarks():
    step = Aligning()
    images, targets = step.examples()
    middle = np.asarray(batch_of(3, 2 * SIZE)["image"])[:, SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2, ::-1]
    np.testing.assert_allclose(images, middle / 127.5 - 1, atol=1e-5)
    # Points count from the first pixel's middle of a record that is four times as wide as the view.
    expected = (step.points + 0.25 - SIZE / 2) / SIZE * 2 - 1
    np.testing.assert_allclose(targets.landmarks, expected, atol=1e-5)
    assert targets.pointmaps.shape == (3, 68, SIZE // 4, SIZE // 4)


def test_alignment_places_and_disturbs_anew():
    step = Aligning(**{"view.shift": 0.1, "view.flip": 0.5, "disturb.noise": 1.0})
    (first, _), (second, _) = step.examples(0), step.examples(1)
    assert different(first, second)
    plain, _ = Aligning().examples()
    assert different(first, plain)


def test_alignment_averages_and_slows_down():
    step = Aligning(**{"average.half_life": 3.0, "optimizer.milestones": (1,)})
    rates, state = [], step.state
    update = jax.jit(step.method.update)
    for _ in range(3):
        before = state
        state, metrics = update(state, step.examples(), jax.random.key(0))
        rates.append(float(metrics["learning_rate"]))
        expected = (before.target["params"]["w"] + state.params["w"]) / 2  # a batch is half a life
        np.testing.assert_allclose(state.target["params"]["w"], expected, rtol=1e-6)
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4], rtol=1e-5)
    assert step.method.eval_variables(state) is state.target
