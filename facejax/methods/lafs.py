"""LAFS: self-distillation on patches around landmarks (Sun et al., CVPR 2024, arXiv:2403.08161), and DINO-face."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from facejax import adamw, losses, schedules
from facejax.architectures.part_fvit import PartFViT
from facejax.config_schema import methods as schemas
from facejax.data import photometry, views
from facejax.interop import pretrained
from facejax.methods.collapse import embedding_spread
from facejax.methods.method import Batch, Method
from facejax.methods.momentum_target import MomentumTarget
from facejax.models import patches
from facejax.models.dino_head import DINOHead
from facejax.models.fvit import FViT
from facejax.models.lafs import LAFSNetwork
from facejax.models.landmarks import LandmarkNetwork
from facejax.train_state import TrainState

REFERENCE_BATCH = 256  # for which the learning rate is given


class LAFS(Method):
    """LAFS or DINO-face, bound to a config.

    Config keys: `image_size`, `mean`, `std`, `dtype`, `epochs`, `batch_size`; all of `model`, `head`, `loss`,
    `optimizer`, `ema` and `landmark_augmentation`; `landmark_network`, the workdir or official file to load it from;
    `num_local`; `global1`, `global2` and `local`, which hold attributes of a `facejax.data.views.View`.
    Without `model.landmarks` the patches are on a grid, as in DINO, and the crops may have their own `size`.

    The frozen landmark network is a part of the state, so a checkpoint suffices to encode and to resume:
    `state.frozen` holds its variables as `landmark_network`. With `ema.teacher_mode = "train"` the teacher drops out
    and skips blocks like the student: the official code never puts it into evaluation mode. "eval" does, as in DINO's
    paper.
    """

    schema = schemas.LAFS

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        dtype = jnp.dtype(config.dtype)
        self.landmark_network = LandmarkNetwork(config.model.num_points) if config.model.landmarks else None
        self.network = LAFSNetwork(
            FViT(
                size=config.model.size,
                num_positions=config.model.num_points,
                interpolate=not config.model.landmarks,
                dropout=config.model.dropout,
                stochastic_depth=config.model.stochastic_depth,
                dtype=dtype,
            ),
            DINOHead(**config.head, dtype=dtype),
        )
        optimizer = config.optimizer
        self.learning_rate = schedules.warmup_cosine_to(
            optimizer.learning_rate * config.batch_size / REFERENCE_BATCH,
            optimizer.final_learning_rate,
            warmup_steps=optimizer.warmup_epochs * steps_per_epoch,
            total_steps=total_steps,
        )
        self.weight_decay = schedules.cosine(*optimizer.weight_decay, total_steps=total_steps)
        self.optimizer = adamw.dino_adamw(
            self.learning_rate,
            weight_decay=self.weight_decay,
            max_norm=optimizer.max_norm,
            frozen=lambda path: path == "head/last_layer",
            frozen_steps=optimizer.frozen_epochs * steps_per_epoch,
        )
        self.teacher_temperature = schedules.linear_by_epoch(
            config.loss.first_teacher_temperature,
            config.loss.teacher_temperature,
            epochs=config.loss.temperature_epochs,
            steps_per_epoch=steps_per_epoch,
        )
        self.teacher = MomentumTarget(
            schedules.cosine_momentum(config.ema.momentum, total_steps=total_steps),
            training=config.ema.teacher_mode == "train",
        )

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """An initial state; the teacher starts as a copy of the student. `start_from` loads the landmark network."""
        model = self.config.model
        network_rng, landmark_rng = jax.random.split(rng)
        tokens = jnp.zeros((1, 1, model.num_points, 3 * model.patch_size**2))
        params = self.network.init(network_rng, [tokens], False)["params"]
        frozen = {}
        if self.landmark_network:
            images = jnp.zeros((1, self.config.image_size, self.config.image_size, 3))
            frozen["landmark_network"] = self.landmark_network.init(landmark_rng, images, False)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics={},
            target={"params": jax.tree.map(jnp.copy, params)},
            opt_state=self.optimizer.init(params),
            frozen=frozen,
            center=jnp.zeros(self.config.head.num_outputs),
        )

    def check_start(self) -> None:
        """Compares the shapes of the landmark network that the config names with those of `init`."""
        if self.landmark_network and self.config.landmark_network != pretrained.RANDOM:
            rng = jax.eval_shape(lambda: jax.random.key(0))
            self.start_from(jax.eval_shape(self.init, rng, {}), shapes_only=True)

    def start_from(self, state: TrainState, *, shapes_only: bool = False) -> TrainState:
        """Outside of jit: replaces the random landmark network by the one that the config names."""
        if not self.landmark_network or self.config.landmark_network == pretrained.RANDOM:
            return state
        there = pretrained.landmark_network(self.config.landmark_network, shapes_only=shapes_only)
        here = state.frozen["landmark_network"]
        loaded = pretrained.replace_weights(here, there, self.config.landmark_network)
        return state.replace(frozen=state.frozen | {"landmark_network": loaded})

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """Tokens of two global and several local views of every image, then one update."""
        views_rng, dropout_rng = jax.random.split(jax.random.fold_in(rng, state.step))
        return self.update(state, self.tokens(state.frozen, batch, views_rng), dropout_rng)

    def tokens(self, frozen, batch: Batch, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Patches of the global views [B, 2, P, C] and of the local ones [B, L, P', C]."""
        rng1, rng2, local_rng, points_rng = jax.random.split(rng, 4)
        pairs = [self._crop(rng1, batch, "global1"), self._crop(rng2, batch, "global2")]
        global_views = [jnp.stack(crops, 1) for crops in zip(*pairs, strict=True)]
        local_views = jax.lax.map(
            lambda key: self._crop(key, batch, "local"), jax.random.split(local_rng, self.config.num_local)
        )
        local_views = [crops.swapaxes(0, 1) for crops in local_views]
        if not self.landmark_network:
            return self._grid(global_views[1]), self._grid(local_views[1])
        global_rng, local_rng = jax.random.split(points_rng)
        kept = self.config.landmark_augmentation.local_points
        return (
            self._patches(frozen, *global_views, global_rng),
            self._patches(frozen, *local_views, local_rng, kept),
        )

    def _crop(self, rng, batch, name):
        """A random crop of every image, plain and coloured, both normalised: two arrays [B, S, S, 3]."""
        recipe = views.View(**self.config[name])
        crop_rng, color_rng = jax.random.split(rng)
        plain = views.crop(crop_rng, batch["image"], batch["size"], recipe)
        colored = views.distort(color_rng, plain, recipe)
        return tuple(photometry.normalize(crop, self.config.mean, self.config.std) for crop in (plain, colored))

    def _grid(self, images):
        batch, count = images.shape[:2]
        tokens = patches.grid_patches(
            images.reshape(batch * count, *images.shape[2:]), size=self.config.model.patch_size
        )
        return tokens.reshape(batch, count, *tokens.shape[1:])

    def _patches(self, frozen, plain, colored, rng, kept: int | None = None):
        """Patches of coloured crops [B, V, S, S, 3] around the augmented landmarks of the plain ones."""
        batch, count = plain.shape[:2]
        plain, colored = (crops.reshape(batch * count, *crops.shape[2:]) for crops in (plain, colored))
        points = self.landmark_network.apply(frozen["landmark_network"], plain, False)
        points = disturb(rng, points, noise=self.config.landmark_augmentation.noise, kept=kept)
        tokens = self._sample(colored, points)
        return tokens.reshape(batch, count, *tokens.shape[1:])

    def _sample(self, images, points):
        model = self.config.model
        return patches.sample_patches(images, points, size=model.patch_size, geometry=model.geometry)

    def update(self, state: TrainState, views: Sequence[jax.Array], rng: jax.Array):
        """One step on tokens of the views, the teacher's first: [B, 2, P, C], [B, L, P', C]; updates both."""
        temperature, (student_rng, teacher_rng) = self.teacher_temperature(state.step), jax.random.split(rng)
        (_, teacher), target = self.teacher.forward(self.network.apply, state.target, views[:1], teacher_rng)
        gradient = jax.grad(self.loss, has_aux=True)
        gradients, metrics = gradient(state.params, views, teacher, state.center, temperature, student_rng)
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = self.teacher.follow(target, {"params": params}, state.step)
        center = losses.update_center(state.center, teacher, self.config.loss.center_momentum)
        metrics |= {
            "learning_rate": self.learning_rate(state.step),
            "weight_decay": self.weight_decay(state.step),
            "teacher_temperature": temperature,
            "teacher_momentum": self.teacher.momentum(state.step),
        }
        state = state.replace(step=state.step + 1, params=params, target=target, opt_state=opt_state, center=center)
        return state, metrics

    def loss(self, params, views, teacher, center, temperature, rng):
        """DINO's loss of the student on all views, and metrics that reveal a collapse."""
        embeddings, logits = self.network.apply({"params": params}, views, True, rngs={"dropout": rng})
        student_temperature = self.config.loss.student_temperature
        total = losses.dino(logits, teacher, center, student_temperature, temperature)
        return total, {"total": total, "embedding_spread": embedding_spread(embeddings[0])}

    @functools.cached_property
    def architecture(self) -> PartFViT:
        """The transformer, and the landmark network where there is one."""
        model = self.config.model
        return PartFViT(
            model.size,
            model.num_points,
            model.patch_size,
            model.geometry,
            has_landmarks=model.landmarks,
            interpolate=not model.landmarks,
            dtype=self.config.dtype,
        )

    def eval_variables(self, state: TrainState) -> dict:
        """The teacher's transformer, which encodes best, and the landmark network."""
        params, statistics = {"transformer": state.target["params"]["transformer"]}, {}
        if self.landmark_network:
            landmark_network = state.frozen["landmark_network"]
            params["landmark_network"] = landmark_network["params"]
            statistics["batch_stats"] = {"landmark_network": landmark_network["batch_stats"]}
        return {"params": params, **statistics}


def disturb(rng: jax.Array, points: jax.Array, *, noise: float, kept: int | None = None) -> jax.Array:
    """LAFS' landmark augmentations.

    Args:
      rng: random key.
      points: [N, P, 2].
      noise: standard deviation of the noise on every coordinate, pixels.
      kept: number of points drawn with replacement, separately for each image, which also shuffles them; None: all.

    Returns:
      [N, kept or P, 2].
    """
    noise_rng, choice_rng = jax.random.split(rng)
    points = points + noise * jax.random.normal(noise_rng, points.shape)
    if kept is None:
        return points
    choice = jax.random.randint(choice_rng, (len(points), kept), 0, points.shape[1])
    return jnp.take_along_axis(points, choice[..., None], axis=1)
