"""Recognition with labels: Part fViT and fViT trained from scratch, and LAFS' fine-tuning."""

import functools
import math

import jax
import jax.numpy as jnp
import optax

from facejax import adamw, losses, schedules
from facejax.architectures.part_fvit import PartFViT
from facejax.config_schema import methods as schemas
from facejax.data import crops, erasing, mixup, photometry, rand_augment, views
from facejax.interop import pretrained
from facejax.losses.sharded_softmax import Rows, margin_softmax
from facejax.methods import backbone
from facejax.methods.collapse import embedding_spread
from facejax.methods.method import Batch, Method
from facejax.models.fvit import SIZES
from facejax.sharding import path_name
from facejax.train_state import TrainState

MARGINS = {"cosface": losses.cosface, "arcface": losses.arcface}
ROWS = 256  # the classifier has a multiple of this many rows, so it can be split over any usual number of devices


class Supervised(Method):
    """Recognition, bound to a config.

    Config keys: `image_size`, `mean`, `std`, `dtype`, `batch_size`; `data.label`; all of `model`,
    `classifier` and `optimizer`; `view`, further arguments of `facejax.data.views.make_view`; `rand_augment`, `erasing`
    and `mixup`, arguments of the functions of these names; `initialize_from`, workdirs or official files.

    The rows of the classifier are split over the mesh axis `classifier.axis`; `config.sharding` must split them too,
    with the rule `("classifier", ("data", None))`, which covers its moments. With `classifier.sampled` below 1 (partial
    FC) AdamW still updates every row: rows that are not sampled have gradient 0 in that step.
    """

    schema = schemas.Supervised

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        self.network = backbone.face_transformer(config.model, jnp.dtype(config.dtype))
        optimizer = config.optimizer
        self.learning_rate = schedules.warmup_then_cosine(
            optimizer.learning_rate,
            optimizer.final_learning_rate,
            warmup_steps=optimizer.warmup_epochs * steps_per_epoch,
            total_steps=total_steps,
        )
        self.optimizer = grouped_optimizer(config, self.learning_rate, steps_per_epoch=steps_per_epoch)

    @property
    def fields(self) -> tuple[str, ...]:
        """Images and labels."""
        return ("image", self.config.data.label)

    @property
    def num_classes(self) -> dict[str, int]:
        """Number of classes of the classifier."""
        return {self.config.data.label: self.config.classifier.num_classes}

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """An initial state, including the classifier; `start_from` loads weights of earlier stages."""
        network_rng, classifier_rng = jax.random.split(rng)
        images = jnp.zeros((1, self.config.image_size, self.config.image_size, 3))
        variables = dict(self.network.init(network_rng, images, False))
        width = self.network.transformer.width
        limit = math.sqrt(6 / (self.config.classifier.num_classes + width))  # Xavier's, for the rows that are classes
        classifier = jax.random.uniform(classifier_rng, (self._rows(), width), minval=-limit, maxval=limit)
        params = {**variables.pop("params"), "classifier": classifier}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=variables,
            target=None,
            opt_state=self.optimizer.init(params),
        )

    def _rows(self) -> int:
        return ROWS * math.ceil(self.config.classifier.num_classes / ROWS)

    def check_start(self) -> None:
        """Compares the shapes of the weights that the config names with those of `init`."""
        sources = self.config.initialize_from
        if {sources.transformer, sources.landmark_network} != {pretrained.RANDOM}:
            rng = jax.eval_shape(lambda: jax.random.key(0))
            self.start_from(jax.eval_shape(self.init, rng, {}), shapes_only=True)

    def start_from(self, state: TrainState, *, shapes_only: bool = False) -> TrainState:
        """Outside of jit: replaces random weights of both networks by those that the config names."""
        sources, params, statistics = self.config.initialize_from, dict(state.params), dict(state.statistics)
        if sources.transformer != pretrained.RANDOM:
            there = pretrained.transformer(sources.transformer, size=self.config.model.size, shapes_only=shapes_only)
            params["transformer"] = pretrained.replace_weights(params["transformer"], there, sources.transformer)
        if self.config.model.landmarks and sources.landmark_network != pretrained.RANDOM:
            there = pretrained.landmark_network(sources.landmark_network, shapes_only=shapes_only)
            here = {
                "params": params["landmark_network"],
                "batch_stats": statistics["batch_stats"]["landmark_network"],
            }
            loaded = pretrained.replace_weights(here, there, sources.landmark_network)
            params["landmark_network"] = loaded["params"]
            statistics["batch_stats"] = {"landmark_network": loaded["batch_stats"]}
        return state.replace(params=params, statistics=statistics)

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """One update on an augmented, mixed batch; the gradient may be accumulated over parts of it."""
        views_rng, rng = jax.random.split(jax.random.fold_in(rng, state.step))
        parts = self.config.optimizer.accumulation
        if parts == 1:
            return self.update(state, self.augment(views_rng, batch), rng)
        # Interleaved, so every part has examples of every device.
        batch = jax.tree.map(lambda x: x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)

        def gather(carried, part):
            gathered, statistics = carried
            batch, views_rng, rng = part
            gradients, (metrics, statistics) = self._gradients(
                state.params, statistics, self.augment(views_rng, batch), rng
            )
            return (jax.tree.map(jnp.add, gathered, gradients), statistics), metrics

        zeros = jax.tree.map(jnp.zeros_like, state.params)
        keys = jax.random.split(views_rng, parts), jax.random.split(rng, parts)
        (gradients, statistics), metrics = jax.lax.scan(gather, (zeros, state.statistics), (batch, *keys))
        gradients, metrics = jax.tree.map(lambda x: x / parts, gradients), jax.tree.map(jnp.mean, metrics)
        return self._apply(state, gradients, statistics, metrics)

    def augment(self, rng: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Normalised images [B, S, S, 3], their labels [B, M] and the labels' weights [B, M].

        RandAugment of the whole image, crop and flip, colour jitter, erasing, then mixup over the batch.
        """
        config = self.config
        crop_rng, augment_rng, color_rng, erasing_rng, mixup_rng = jax.random.split(rng, 5)
        recipe = views.View(size=config.image_size, **config.view)
        images, sizes = batch["image"], batch["size"]
        if config.rand_augment.magnitude:
            side = images.shape[1]
            images = crops.resize(images, sizes, size=side)  # unchanged, where an image fills its square
            images = rand_augment.rand_augment(augment_rng, images, **config.rand_augment)
            sizes = jnp.full_like(sizes, side)
        images = views.crop(crop_rng, images, sizes, recipe)
        images = views.distort(color_rng, images, recipe)
        if config.erasing.probability:
            images = erasing.random_erasing(erasing_rng, images, **config.erasing)
        images = photometry.normalize(images, config.mean, config.std)
        labels = batch[config.data.label].astype(jnp.int32)
        if not config.mixup.probability:
            return images, labels[:, None], jnp.ones((len(labels), 1))
        return mixup.mixup(mixup_rng, images, labels, **config.mixup)

    def update(self, state: TrainState, examples: tuple[jax.Array, jax.Array, jax.Array], rng: jax.Array):
        """One step of AdamW on given images, labels and weights, as returned by `augment`."""
        gradients, (metrics, statistics) = self._gradients(state.params, state.statistics, examples, rng)
        return self._apply(state, gradients, statistics, metrics)

    def _gradients(self, params, statistics, examples, rng):
        return jax.grad(self.loss, has_aux=True)(params, statistics, examples, rng)

    def _apply(self, state, gradients, statistics, metrics):
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"learning_rate": self.learning_rate(state.step)}
        return TrainState(state.step + 1, params, statistics, None, opt_state), metrics

    def loss(self, params, statistics, examples, rng):
        """Margin softmax, and `(metrics, statistics)` after the forward."""
        images, labels, shares = examples
        dropout_rng, sample_rng = jax.random.split(rng)
        network = {name: tree for name, tree in params.items() if name != "classifier"}
        embeddings, moved = self.network.apply(
            {"params": network, **statistics}, images, True, rngs={"dropout": dropout_rng}, mutable=list(statistics)
        )
        classifier = self.config.classifier
        each = margin_softmax(
            embeddings,
            params["classifier"],
            labels,
            shares,
            functools.partial(MARGINS[classifier.loss], scale=classifier.scale, margin=classifier.margin),
            rows=Rows(classifier.num_classes, classifier.axis, classifier.sampled),
            rng=sample_rng,
        )
        total = each.mean()
        return total, ({"total": total, "embedding_spread": embedding_spread(embeddings)}, moved)

    @functools.cached_property
    def architecture(self) -> PartFViT:
        """All but the classifier; landmarks are features too, where there are any."""
        model, dtype = self.config.model, self.config.dtype
        return PartFViT(
            model.size,
            model.num_points,
            model.patch_size,
            model.geometry,
            has_landmarks=model.landmarks,
            kinds=("embedding", "landmarks") if model.landmarks else ("embedding",),
            dtype=dtype,
            landmark_dtype=dtype,
        )


def grouped_optimizer(config, learning_rate: optax.Schedule, *, steps_per_epoch: int) -> optax.GradientTransformation:
    """AdamW with the parameter groups that `config.optimizer.groups` names, a key of `GROUPS`.

    The rate of the landmark network rises from 0 to that of its group between the two epochs of
    `config.optimizer.landmark_warmup_epochs`; (0, 0) leaves it alone.
    """
    settings = config.optimizer
    optimizer = adamw.grouped_adamw(learning_rate, GROUPS[settings.groups](config))
    first, last = settings.landmark_warmup_epochs
    if first == last == 0:
        return optimizer
    share = optax.linear_schedule(0.0, 1.0, (last - first) * steps_per_epoch, transition_begin=first * steps_per_epoch)
    return optax.chain(optimizer, optax.masked(optax.scale_by_schedule(share), _landmark_mask))


def _landmark_mask(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: _in_landmark_network(path_name(path)), params)


def _in_landmark_network(path: str) -> bool:
    return path.startswith("landmark_network/")


def end_to_end_groups(*, weight_decay: float, landmark_weight_decay: float, landmark_factor: float):
    """Groups of the first stage: all is decayed, the landmark network has a decay and a learning rate of its own.

    Args:
      weight_decay: of all but the landmark network.
      landmark_weight_decay: of the landmark network.
      landmark_factor: of its learning rate.

    Returns:
      `(path, parameter) -> (factor on the learning rate, weight decay)`.
    """

    def group(path, param):
        return (landmark_factor, landmark_weight_decay) if _in_landmark_network(path) else (1.0, weight_decay)

    return group


def layer_decay_groups(size: str, *, decay: float, weight_decay: float, trunk_weight_decay: float):
    """Groups of fine-tuning: the further from the classifier, the lower the rate; vectors are not decayed.

    Landmark network, patch embedding, class token and positions are layer 0, block i is layer i + 1, the rest is the
    last layer, depth + 1; a layer's rate is multiplied by decay^(depth + 1 - layer).

    Args:
      size: a key of `facejax.models.fvit.SIZES`.
      decay: of the rate from layer to layer.
      weight_decay: of all but vectors and the trunk of the landmark network.
      trunk_weight_decay: of the trunk, vectors excepted.

    Returns:
      `(path, parameter) -> (factor on the learning rate, weight decay)`.
    """
    last = SIZES[size]["depth"] + 1

    def group(path, param):
        trunk = path.startswith("landmark_network/trunk/")
        wd = 0.0 if param.ndim == 1 else trunk_weight_decay if trunk else weight_decay
        return decay ** (last - _layer(path, last)), wd

    return group


def _layer(path: str, last: int) -> int:
    first = ("landmark_network/", "transformer/patch_embedding/", "transformer/class_token", "transformer/positions")
    if path.startswith(first):
        return 0
    block = path.removeprefix("transformer/").split("/")[0]
    return int(block.removeprefix("block")) + 1 if block.startswith("block") else last


def _end_to_end(config):
    settings = config.optimizer
    return end_to_end_groups(
        weight_decay=settings.weight_decay,
        landmark_weight_decay=settings.landmark_weight_decay,
        landmark_factor=settings.landmark_factor,
    )


def _layer_decay(config, applied: bool):
    settings = config.optimizer
    return layer_decay_groups(
        config.model.size,
        decay=settings.layer_decay if applied else 1.0,
        weight_decay=settings.weight_decay,
        trunk_weight_decay=settings.landmark_weight_decay,
    )


GROUPS = {
    "end_to_end": _end_to_end,
    "layer_decay": functools.partial(_layer_decay, applied=True),
    "layer_decay_official": functools.partial(_layer_decay, applied=False),  # computed there, but never applied
}
