"""Fine-tuning with labels: expressions, attributes, whatever images are classified by."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from facejax import adamw, losses, schedules
from facejax.architectures.tuned_classifier import TunedClassifier
from facejax.config_schema import tasks as schemas
from facejax.data import erasing, photometry, views, warp
from facejax.errors import UserError
from facejax.methods import backbone
from facejax.methods.method import Batch, Method
from facejax.models import classifier as classifiers
from facejax.train_state import TrainState


class Finetune(Method):
    """An encoder and a head, trained together as FRA's code does (Gao & Patras, CVPR 2024, arXiv:2403.02138).

    Fields that are read: `image_size`, `mean`, `std`, `dtype`; `data.label`; `resnet` or `transformer`; all of
    `classifier` and `optimizer`; `view`, those of `facejax.data.views.View` and
    `facejax.data.warp.shift_and_turn`; `erasing`, arguments of `facejax.data.erasing.random_erasing`;
    `initialize_from`, a workdir or an official file.
    """

    schema = schemas.Finetune
    needs_every_class = True

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        classifier, optimizer = config.classifier, config.optimizer
        head = classifiers.head(
            classifier.num_classes, tuple(classifier.hidden_dims), jnp.dtype(config.dtype), classifier.dropout
        )
        self.network = classifiers.Classifier(backbone.create(config), head)
        rates = {"backbone": optimizer.learning_rate, "head": optimizer.head_learning_rate}
        self.learning_rates = {
            part: schedules.warmup_into_cosine(
                peak,
                optimizer.final_learning_rate,
                warmup_steps=optimizer.warmup_epochs * steps_per_epoch,
                total_steps=total_steps,
            )
            for part, peak in rates.items()
        }
        self.optimizer = adamw.adamw_by_part(self.learning_rates, weight_decay=optimizer.weight_decay)

    @property
    def fields(self) -> tuple[str, ...]:
        """Images and labels."""
        return ("image", self.config.data.label)

    @property
    def num_classes(self) -> dict[str, int]:
        """Of the head, where it has classes."""
        classifier = self.config.classifier
        return {self.config.data.label: classifier.num_classes} if classifier.targets == "classes" else {}

    def check_batch(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> None:
        """Compares the labels with the head's outputs."""
        label, classifier = self.config.data.label, self.config.classifier
        expected = () if classifier.targets == "classes" else (classifier.num_classes,)
        if batch[label].shape[1:] != expected:
            raise UserError(
                f"config.data.label: '{label}' is {list(batch[label].shape[1:]) or 'one number'} for an image, but "
                f"config.classifier wants {list(expected) or 'one number'} "
                f"(targets={classifier.targets!r}, num_classes={classifier.num_classes})"
            )

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """A fresh state; `start_from` brings the encoder's weights."""
        images = jnp.zeros((2, self.config.image_size, self.config.image_size, 3))
        statistics = dict(self.network.init(rng, images, False))
        params = statistics.pop("params")
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=statistics,
            target=None,
            opt_state=self.optimizer.init(params),
        )

    def check_start(self) -> None:
        """See `backbone.check_start`."""
        backbone.check_start(self)

    def start_from(self, state: TrainState) -> TrainState:
        """Outside of jit: the encoder from where the config says takes the place of the random one."""
        variables = backbone.start_from(self.config, state.variables)
        return state.replace(params=variables.pop("params"), statistics=variables)

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """An augmented batch, then one update."""
        view_rng, dropout_rng = jax.random.split(jax.random.fold_in(rng, state.step))
        return self.update(state, (self.augment(view_rng, batch), batch[self.config.data.label]), dropout_rng)

    def augment(self, rng: jax.Array, batch: Batch) -> jax.Array:
        """Normalised images [B, S, S, 3]: resized whole and flipped, colours jittered, shifted and turned, erased."""
        config = self.config
        view_rng, warp_rng, erasing_rng = jax.random.split(rng, 3)
        settings = dict(config.view)
        moves = {name: settings.pop(name) for name in warp.MOVES}
        recipe = views.View(size=config.image_size, **settings)
        images = views.make_view(view_rng, batch["image"], batch["size"], recipe)
        if config.view.shift_probability or config.view.rotation_probability:
            images = warp.shift_and_turn(warp_rng, images, **moves)
        images = photometry.normalize(images, config.mean, config.std)
        return erasing.random_erasing(erasing_rng, images, **config.erasing) if config.erasing.probability else images

    def update(self, state: TrainState, examples: tuple[jax.Array, jax.Array], rng: jax.Array):
        """One step of AdamW on given images and labels."""
        gradient = jax.grad(self.loss, has_aux=True)
        gradients, (metrics, statistics) = gradient(state.params, state.statistics, examples, rng)
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"learning_rate": self.learning_rates["backbone"](state.step)}
        return TrainState(state.step + 1, params, statistics, None, opt_state), metrics

    def loss(self, params, statistics, examples, rng):
        """Cross-entropy, and `(metrics, statistics)` after the forward."""
        images, labels = examples
        outputs, statistics = self.network.apply(
            {"params": params, **statistics}, images, True, rngs={"dropout": rng}, mutable=list(statistics)
        )
        logits = outputs["logits"]
        if self.config.classifier.targets == "classes":
            total, right = losses.cross_entropy(logits, labels), logits.argmax(-1) == labels
        else:
            total = losses.binary_cross_entropy(logits, labels.astype(logits.dtype))
            right = (logits >= 0) == (labels > 0)
        return total, ({"total": total, "batch_accuracy": right.mean()}, statistics)

    @functools.cached_property
    def architecture(self) -> TunedClassifier:
        """Encoder and head."""
        classifier = self.config.classifier
        return TunedClassifier(
            backbone.architecture(self.config), classifier.num_classes, tuple(classifier.hidden_dims)
        )
