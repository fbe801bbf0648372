"""Face alignment by heatmaps: STAR's stacked hourglass, or a head on an encoder that has learned something else."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from facejax import encoder, losses, optimizers
from facejax.architectures.landmark_maps import Deconvolutions, StarHourglass
from facejax.config_schema import tasks as schemas
from facejax.data import crops, landmark_augmentation, landmark_targets
from facejax.data.pipeline import FULL_SIZE, ORIGINS
from facejax.errors import UserError
from facejax.interop import pretrained
from facejax.methods import backbone
from facejax.methods.method import Batch, Method
from facejax.methods.momentum_target import MomentumTarget
from facejax.preprocessing import Preprocessing
from facejax.train_state import TrainState

Examples = tuple[jax.Array, landmark_targets.Targets]


class Alignment(Method):
    """STAR (Zhou et al., CVPR 2023, arXiv:2306.02763): landmarks as means of heatmaps, and maps of points and edges.

    The evaluated network is the average of its past (`config.average`), statistics included.

    Fields that are read: `image_size`, `mean`, `std`, `dtype`, `batch_size`; all of `landmarks`, `loss`, `optimizer`
    and `average`; `view` and `disturb`, arguments of the functions of `facejax.data.landmark_augmentation`;
    `hourglass`, or `deconvolution` with `resnet` or `transformer`; `initialize_from`, a workdir or an official file.
    """

    schema = schemas.Alignment

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        self.edges = landmark_targets.EDGES[config.landmarks.points] if config.landmarks.edges else ()
        self.num_points = landmark_targets.NUM_POINTS[config.landmarks.points]
        self.mirror = landmark_augmentation.mirror_order(config.landmarks.points, self.num_points)
        self.network = self.architecture.network
        if "deconvolution" in config:
            self.network = self.architecture.on(backbone.create(config))
        settings = config.optimizer
        self.learning_rate = optax.piecewise_constant_schedule(
            settings.learning_rate, {epoch * steps_per_epoch: settings.decay for epoch in settings.milestones}
        )
        self.optimizer = optax.adam(self.learning_rate)
        if "deconvolution" in config:
            factor = config.deconvolution.backbone_factor
            self.optimizer = optimizers.by_part(
                {
                    "backbone": optax.adam(lambda step: factor * self.learning_rate(step)),
                    "head": optax.adam(self.learning_rate),
                }
            )
        momentum = 0.5 ** (config.batch_size / config.average.half_life)
        self.average = MomentumTarget(optax.constant_schedule(momentum), training=False)

    @functools.cached_property
    def architecture(self) -> StarHourglass | Deconvolutions:
        """The network of the config."""
        config, points, edges = self.config, self.config.landmarks.points, self.config.landmarks.edges
        if "hourglass" in config:
            return StarHourglass(points, edges, **config.hourglass, dtype=config.dtype)
        return Deconvolutions(backbone.architecture(config), points, edges, config.deconvolution.width)

    @property
    def preprocessing(self) -> Preprocessing:
        """The square in the middle of an image; official hourglasses want blue first."""
        return dataclasses.replace(
            super().preprocessing,
            fit="crop",
            crop_fraction=self.config.view.side,
            channel_order="bgr" if "hourglass" in self.config else "rgb",
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Images, their landmarks and the size in whose pixels these are."""
        return ("image", self.config.landmarks.field, FULL_SIZE)

    def check_batch(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> None:
        """Compares the number of points."""
        field = self.config.landmarks.field
        if batch[field].shape[1:] != (self.num_points, 2):
            raise UserError(
                f"config.landmarks: '{field}' of {self.config.data.folder} is {list(batch[field].shape[1:])} for an "
                f"image, but points={self.config.landmarks.points!r} are {[self.num_points, 2]}"
            )

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """A fresh state; `start_from` brings weights."""
        variables = dict(self.network.init(rng, jnp.zeros((1, *[self.config.image_size] * 2, 3)), False))
        target = jax.tree.map(jnp.copy, variables)
        params = variables.pop("params")
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=variables,
            target=target,
            opt_state=self.optimizer.init(params),
        )

    def check_start(self) -> None:
        """See `backbone.check_start`."""
        backbone.check_start(self)

    def start_from(self, state: TrainState) -> TrainState:
        """Outside of jit: the weights that the config names take the place of random ones, in the average too."""
        variables, source = state.variables, self.config.initialize_from
        if "deconvolution" in self.config:
            variables = backbone.start_from(self.config, variables)
        elif source != pretrained.RANDOM:
            there = self.architecture.select(encoder.load(source).variables, self.config.image_size, str(source))
            variables = pretrained.replace_weights(variables, there, source)
        statistics = dict(variables)
        return state.replace(
            params=statistics.pop("params"),
            statistics=statistics,
            target=jax.tree.map(lambda x: x.copy() if isinstance(x, jax.Array) else x, variables),
        )

    def eval_variables(self, state: TrainState):
        """The average."""
        return state.target

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """An augmented batch, then one update."""
        view_rng, dropout_rng = jax.random.split(jax.random.fold_in(rng, state.step))
        return self.update(state, self.examples(view_rng, batch), dropout_rng)

    def examples(self, rng: jax.Array, batch: Batch) -> Examples:
        """Images as the network wants them, [B, S, S, 3], and what they are to become."""
        config, (place_rng, disturb_rng) = self.config, jax.random.split(rng)
        from_corner = batch[config.landmarks.field] - ORIGINS[config.landmarks.origin] + 0.5
        settings = dict(config.view)
        side = settings.pop("side")
        images, points = landmark_augmentation.place(
            crops.as_float(batch["image"]),
            batch["size"],
            from_corner * (batch["size"] / batch[FULL_SIZE])[:, None, ::-1],
            landmark_augmentation.draw_placement(place_rng, len(from_corner), **settings),
            size=config.image_size,
            side=side,
            mirror=self.mirror,
        )
        images = landmark_augmentation.disturb(disturb_rng, images, **config.disturb)
        return (
            self.preprocessing.normalize(255 * images),
            landmark_targets.encode(points - 0.5, self.edges, config.image_size),
        )

    def update(self, state: TrainState, examples: Examples, rng: jax.Array):
        """One step of Adam on given images and targets, then the average follows."""
        gradient = jax.grad(self.loss, has_aux=True)
        gradients, (metrics, statistics) = gradient(state.params, state.statistics, examples, rng)
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = self.average.follow(state.target, {"params": params, **statistics}, state.step)
        metrics |= {"learning_rate": self.learning_rate(state.step)}
        return TrainState(state.step + 1, params, statistics, target, opt_state), metrics

    def loss(self, params, statistics, examples, rng):
        """Total loss, and `(metrics, statistics)` after the forward; each stack weighs twice as much as the one before.

        The metrics but for the total are the last stack's losses, unweighted.
        """
        images, targets = examples
        outputs, statistics = self.network.apply(
            {"params": params, **statistics}, images, True, rngs={"dropout": rng}, mutable=list(statistics)
        )
        settings, stacks, total = self.config.loss, len(outputs["landmarks"]), 0.0
        for stack in range(stacks):
            maps = {name: z[stack] for name, z in outputs.items()}
            parts = {
                "star": losses.star(maps["heatmaps"], targets.landmarks, settings.distance, settings.restriction_weight)
            }
            for name in ("pointmaps", "edgemaps"):
                if name in maps:
                    parts[name] = losses.adaptive_wing(maps[name], getattr(targets, name))
            weighted = parts["star"] + settings.map_weight * sum(parts[name] for name in parts if name != "star")
            total += 2.0 ** (stack - stacks + 1) * weighted
        return total, ({"total": total, **parts}, statistics)
