"""PCL: a decoder separates pose and face, each with a contrastive loss (Liu et al., CVPR 2023, arXiv:2211.13490)."""

import functools

import jax
import jax.numpy as jnp

from facejax import losses, optimizers, schedules
from facejax.architectures.pcl_branches import PCLBranches
from facejax.config_schema import methods as schemas
from facejax.data import crops, views
from facejax.methods import dynamic_weights
from facejax.methods.method import Batch, Method
from facejax.models import pcl as models
from facejax.models.joint_views import apply_to_views, side_by_side, views_apart
from facejax.preprocessing import Preprocessing
from facejax.sharding import shard_over_data
from facejax.train_state import TrainState

UPDATES = {  # in the order of an iteration: the parts of the network with a gradient
    "decoder": ("trunk", "face_branch", "pose_branch", "decoder"),
    "face": ("trunk", "face_branch", "face_projection"),
    "pose": ("trunk", "pose_branch", "pose_projection"),
}
CONTRASTS = ("face", "pose")  # the losses that are weighted
DECODINGS = {"s_f": (0, 1), "f_s": (1, 0), "s_s": (0, 0), "f_f": (1, 1)}  # of face and pose: source 0, mirror image 1
WARMUP_DECODINGS = ("s_f", "f_s", "s_s")
WINDOW = 0.2  # half the side of a corner's window over the side of the image


class PCL(Method):
    """PCL, bound to a config.

    A batch of the loop holds the records of all updates one after the other, in the numbers of `config.batches`: the
    first `batches.decoder` are for the decoder's update, and so on in the order of `UPDATES`. Remaining records only
    make the batch divide over the devices. An update of 0 records is skipped, and the parts that only it trains do not
    exist.

    Config keys: `image_size`, `dtype`, `epochs`, `batch_size`, `batches`, `decoder_warmup_epochs`; all of
    `model`, `loss` and `optimizer`; `augmentation`, which holds arguments of `facejax.data.views.distort`.
    """

    schema = schemas.PCL

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        self.network = create_network(config)
        self.warmup_steps = config.get("decoder_warmup_epochs", 0) * steps_per_epoch
        self.learning_rate = schedules.warmup_cosine(
            config.optimizer.learning_rate, warmup_epochs=0, epochs=config.epochs, steps_per_epoch=steps_per_epoch
        )
        self.optimizer = optimizers.PartwiseAdam(
            weight_decay=config.optimizer.weight_decay, without_gradient=config.optimizer.without_gradient
        )
        self.updates = [name for name in UPDATES if config.batches.get(name)]
        self.contrasts = [name for name in self.updates if name in CONTRASTS]
        self.inputs_of = {"decoder": self.decoder_inputs, "face": self.face_inputs, "pose": self.pose_inputs}
        self.loss_of = {"decoder": self.decoder_loss, "face": self.face_loss, "pose": self.pose_loss}
        self.parts = {part for name in self.updates for part in UPDATES[name]}

    @property
    def streams(self) -> tuple[int, ...]:
        """Records of each update."""
        return tuple(self.config.batches.values())

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """An initial state."""
        images = jnp.zeros((len(DECODINGS), self.config.image_size, self.config.image_size, 3))
        variables = self.network.init(rng, images, train=True, method="run_all")
        params, batch_stats = (
            {part: tree for part, tree in variables[collection].items() if part in self.parts}
            for collection in ("params", "batch_stats")
        )
        return self.new_state(params, {"batch_stats": batch_stats})

    def new_state(self, params, statistics) -> TrainState:
        """The state before the first step, with given parameters."""
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=statistics,
            target=None,
            opt_state={
                "adam": self.optimizer.init(params),
                "loss_weights": dynamic_weights.init(len(self.contrasts)),
            },
        )

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """Draws the inputs of all updates, then performs the updates."""
        rng, inputs, start = jax.random.fold_in(rng, state.step), {}, 0
        for index, name in enumerate(self.updates):
            own = slice(start, start := start + self.config.batches[name])
            make = self.inputs_of[name]
            images, sizes = shard_over_data(batch["image"][own]), shard_over_data(batch["size"][own])
            inputs[name] = make(jax.random.fold_in(rng, index), images, sizes)
        return self.update(state, inputs)

    # --- Inputs of the updates

    def decoder_inputs(self, key, images, sizes) -> dict[str, jax.Array]:
        """Whole images `source` [N, S, S, 3] in [0, 1]; `noise` for them and their mirror images [2, N, S, S, 3]."""
        source = crops.resize(images, sizes, size=self.config.image_size)
        return {"source": source, "noise": self.config.loss.noise * jax.random.normal(key, (2, *source.shape))}

    def face_inputs(self, key, images, sizes) -> dict[str, jax.Array]:
        """Two augmented corners of each image, `views` [2, N, S, S, 3], and the mixing of the negatives."""
        corner_key, *view_keys, mix_key = jax.random.split(key, 4)
        pair = [
            self._augment(view_key, crops.crop_and_resize(images, boxes, size=self.config.image_size))
            for view_key, boxes in zip(view_keys, random_corners(corner_key, sizes), strict=True)
        ]
        return {"views": jnp.stack(pair), **self._mixing(mix_key, 2 * len(images), 2 * len(images) - 2)}

    def pose_inputs(self, key, images, sizes) -> dict[str, jax.Array]:
        """Two augmentations of each image, `views` [2, K, S, S, 3], Q of its mirror, `negatives` [K Q, S, S, 3]."""
        count, keys = self.config.loss.pose_negatives, jax.random.split(key, 4)
        source = crops.resize(images, sizes, size=self.config.image_size)
        negatives = shard_over_data(jnp.repeat(source[:, :, ::-1], count, axis=0))
        return {
            "views": jnp.stack([self._augment(keys[0], source), self._augment(keys[1], source)]),
            "negatives": self._augment(keys[2], negatives),
            **self._mixing(keys[3], len(images), count),
        }

    def _augment(self, key, images):
        return views.distort(key, images, views.Distortion(**self.config.augmentation))

    def _mixing(self, key, anchors, negatives):
        mix_key, order_key = jax.random.split(key)
        alpha = self.config.loss.mixing
        return {
            "mix": symmetric_beta(mix_key, alpha, (anchors, negatives)),
            "permutation": jax.random.permutation(order_key, negatives),
        }

    # --- The updates

    def update(self, state: TrainState, inputs: dict[str, dict[str, jax.Array]]):
        """One iteration on given inputs: a step of Adam for each update, in the order of `UPDATES`.

        During the first `decoder_warmup_epochs` only the decoder's update is made, see `warm_up`.
        """
        if not self.warmup_steps:
            return self.iterate(state, inputs)
        return jax.lax.cond(state.step < self.warmup_steps, self.warm_up, self.iterate, state, inputs)

    def warm_up(self, state: TrainState, inputs: dict[str, dict[str, jax.Array]]):
        """The decoder's update alone, on three of its four reconstructions and without orthogonality, as officially."""
        _, metrics = jax.eval_shape(self.iterate, state, inputs)
        metrics = {name: jnp.zeros(value.shape, value.dtype) for name, value in metrics.items()}
        rate = self.learning_rate(state.step)

        def loss(params):
            _, details, moved = self.decoder_loss(params, state.statistics, inputs["decoder"])
            return sum(details[f"l1_{name}"] for name in WARMUP_DECODINGS), (details, moved)

        chosen = {part: state.params[part] for part in UPDATES["decoder"]}
        (total, (details, statistics)), gradients = jax.value_and_grad(loss, has_aux=True)(chosen)
        params, adam = self.optimizer.update(gradients, state.opt_state["adam"], state.params, rate)
        metrics |= {**details, "decoder": total, "total": total, "learning_rate": rate}
        return TrainState(state.step + 1, params, statistics, None, state.opt_state | {"adam": adam}), metrics

    def iterate(self, state: TrainState, inputs: dict[str, dict[str, jax.Array]]):
        """One iteration after the warm-up."""
        rate = self.learning_rate(state.step)
        weights, weighting = dynamic_weights.begin_step(
            state.opt_state["loss_weights"], state.step - self.warmup_steps, self.steps_per_epoch
        )
        if not self.config.loss.dynamic_weights:
            weights = jnp.ones_like(weights)
        weights = {"decoder": 1.0, **dict(zip(self.contrasts, weights, strict=True))}
        params, statistics, adam = state.params, state.statistics, state.opt_state["adam"]
        metrics = {"total": 0.0}
        for name in self.updates:
            gradients, loss, details, statistics = self.gradients(name, params, statistics, inputs[name], weights[name])
            params, adam = self.optimizer.update(gradients, adam, params, rate)
            metrics |= {name: loss, "total": metrics["total"] + weights[name] * loss, **details}
        if self.contrasts:
            weighting = dynamic_weights.end_step(weighting, jnp.stack([metrics[name] for name in self.contrasts]))
        metrics |= {f"{name}_weight": weights[name] for name in self.contrasts} | {"learning_rate": rate}
        opt_state = {"adam": adam, "loss_weights": weighting}
        return TrainState(state.step + 1, params, statistics, None, opt_state), metrics

    def gradients(self, name, params, statistics, inputs, weight=1.0):
        """`(gradients, loss, details, statistics)` of one update; gradients of the weighted loss in its parts only."""

        def weighted(params):
            loss, details, moved = self.loss_of[name](params, statistics, inputs)
            return weight * loss, (loss, details, moved)

        chosen = {part: params[part] for part in UPDATES[name]}
        gradients, (loss, details, moved) = jax.grad(weighted, has_aux=True)(chosen)
        return gradients, loss, details, moved

    def decoder_loss(self, params, statistics, inputs):
        """Decodes faces in poses, each of the source s or the mirror image f; plus the branches' orthogonality."""
        source = inputs["source"]
        mirror = source[:, :, ::-1]
        noisy = jnp.stack([source, mirror]) + inputs["noise"]
        features = apply_to_views(self.network, {"params": params}, noisy)
        targets = [self._decoder_target(image) for image in (source, mirror)]
        face = jnp.stack([features[face]["face"] for face, _ in DECODINGS.values()])
        pose = jnp.stack([features[pose]["pose"] for _, pose in DECODINGS.values()])
        variables, options = {"params": params, **statistics}, dict(method="decode", mutable=list(statistics))
        decoded, statistics = apply_to_views(self.network, variables, face, pose, train=True, **options)
        reconstruction = {
            f"l1_{name}": jnp.abs(image - targets[pose]).mean()
            for image, (name, (_, pose)) in zip(decoded, DECODINGS.items(), strict=True)
        }
        orthogonality = sum(losses.orthogonality(view["face"], view["pose"]) for view in features)
        loss = sum(reconstruction.values()) + orthogonality
        return loss, {**reconstruction, "orthogonality": orthogonality}, statistics

    def _decoder_target(self, images):
        size = self.config.model.decoder_size
        return jax.image.resize(images, (len(images), size, size, 3), "bilinear")

    def face_loss(self, params, statistics, inputs):
        """Two corners of an image agree among mixed features of other images."""
        features, statistics = self._project("face", params, statistics, inputs["views"])
        temperature = self.config.loss.temperature
        return losses.mixed_info_nce(features, inputs["mix"], inputs["permutation"], temperature), {}, statistics

    def pose_loss(self, params, statistics, inputs):
        """Two augmentations of an image agree among mixed ones of its mirror image, which has another pose."""
        anchors = side_by_side(inputs["views"])
        features = self._branch("pose", params, shard_over_data(jnp.concatenate([anchors, inputs["negatives"]])))
        features, negatives = features[: len(anchors)], features[len(anchors) :]
        projected, statistics = self._train("project", params, statistics, features, "pose")
        negatives, statistics = self._train("project", params, statistics, negatives, "pose")
        images, count = inputs["mix"].shape
        if self.config.loss.negatives_of == "all_images":  # augmentation-major, then cut as if image-major
            negatives = negatives.reshape(images, count, -1).swapaxes(0, 1).reshape(negatives.shape)
        features = jnp.concatenate(views_apart(projected))
        loss = losses.pose_info_nce(
            features, negatives, inputs["mix"], inputs["permutation"], self.config.loss.temperature
        )
        return loss, {}, statistics

    def _project(self, branch, params, statistics, views):
        """Projections [2N, D] of two views [2, N, S, S, 3], one below the other, normalised as one batch."""
        features = self._branch(branch, params, side_by_side(views))
        projected, statistics = self._train("project", params, statistics, features, branch)
        return jnp.concatenate(views_apart(projected)), statistics

    def _branch(self, branch, params, images):
        """Flattened features [N, D] of one branch."""
        return self.network.apply({"params": params}, images, branches=(branch,))[branch]

    def _train(self, method, params, statistics, *args):
        """A forward in training mode; returns its result and the updated statistics."""
        return self.network.apply(
            {"params": params, **statistics}, *args, train=True, method=method, mutable=list(statistics)
        )

    # --- After training

    @functools.cached_property
    def architecture(self) -> PCLBranches:
        """Trunk, the branches that were trained, and the decoder if it was."""
        model = self.config.model
        return PCLBranches(
            model.width,
            tuple(branch for branch in models.BRANCHES if f"{branch}_branch" in self.parts),
            model.decoder_size if "decoder" in self.parts else 0,
            self.config.dtype,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """Images stay in [0, 1]."""
        return Preprocessing(self.config.image_size)


def create_network(config) -> models.PCLNetwork:
    """The network that a config describes."""
    model = config.model
    return models.PCLNetwork(
        width=model.width,
        hidden_dim=model.hidden_dim,
        projection_dim=model.projection_dim,
        decoder_size=model.decoder_size,
        dtype=jnp.dtype(config.dtype),
    )


def random_corners(key, sizes) -> tuple[jax.Array, jax.Array]:
    """Boxes of two windows of each image, in two different quadrants.

    A window is 2 floor(0.2 side) long on each axis; its centre is drawn uniformly among the pixels at least
    floor(0.2 side) from the borders of its quadrant.

    Args:
      key: random key.
      sizes: valid height and width of each image, int [N, 2], 5 at least.

    Returns:
      Top, left, height, width: int32 [N, 4], twice.
    """
    quadrant_key, *centre_keys = jax.random.split(key, 3)
    first, step = jax.random.randint(quadrant_key, (2, len(sizes)), 0, jnp.array([[4], [3]]))
    radius = jnp.maximum((WINDOW * sizes).astype(jnp.int32), 1)
    half = sizes // 2

    def box(quadrant, key):
        low = jnp.stack([quadrant // 2, quadrant % 2], axis=1) * half
        room = half - 2 * radius  # how far the window can move within the quadrant
        corner = low + jax.random.randint(key, sizes.shape, 0, jnp.maximum(room, 0) + 1)
        return jnp.concatenate([corner, 2 * radius], axis=1).astype(jnp.int32)

    return box(first, centre_keys[0]), box((first + 1 + step) % 4, centre_keys[1])


def symmetric_beta(key, alpha: float, shape: tuple[int, ...]) -> jax.Array:
    """Draws from Beta(alpha, alpha), alpha > 1/2, without the loops of `jax.random.beta`: 50 times faster on CPUs.

    2 X - 1 is a coordinate of a random direction in 2 alpha + 1 dimensions (Ulrich, Applied Statistics 33, 1984); for
    alpha = 1, where it is uniform, that is Archimedes' theorem on the sphere.
    """
    u, v = jax.random.uniform(key, (2, *shape))
    return 0.5 + 0.5 * jnp.sqrt(1 - u ** (2 / (2 * alpha - 1))) * jnp.cos(2 * jnp.pi * v)
