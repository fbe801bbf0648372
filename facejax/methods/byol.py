"""BYOL: a network predicts its own moving average's output for another view (Grill et al., arXiv:2006.07733)."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from facejax import losses, optimizers, schedules
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.config_schema import methods as schemas
from facejax.data import views
from facejax.methods.collapse import embedding_spread
from facejax.methods.method import Batch, Method
from facejax.methods.momentum_target import MomentumTarget
from facejax.models import resnet
from facejax.models.byol import BYOLNetwork
from facejax.models.joint_views import apply_to_views
from facejax.train_state import TrainState


class BYOL(Method):
    """BYOL, bound to a config, and the base of its family: a subclass has another network and another `loss`.

    Config keys: `image_size`, `mean`, `std`, `dtype`, `epochs`; all of `model`, `optimizer` and `ema`; `view1`
    and `view2`, which hold further attributes of a `facejax.data.views.View`.
    """

    schema = schemas.BYOL
    network_type: type[nn.Module] = BYOLNetwork
    predictors = ("predictor",)  # submodules that only the online network has

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        self.network = self.create_network(config)
        self.learning_rate = schedules.warmup_cosine(
            config.optimizer.learning_rate,
            warmup_epochs=config.optimizer.warmup_epochs,
            epochs=config.epochs,
            steps_per_epoch=steps_per_epoch,
        )
        self.optimizer = optax.chain(
            optimizers.lars(
                self.learning_rate,
                momentum=config.optimizer.momentum,
                weight_decay=config.optimizer.weight_decay,
                trust_coefficient=config.optimizer.trust_coefficient,
                exclude=config.optimizer.exclude,
            ),
            optax.masked(
                optax.scale(config.optimizer.predictor_factor),
                lambda params: {name: name in self.predictors for name in params},
            ),
        )
        self.target = MomentumTarget(
            schedules.cosine_momentum(config.ema.momentum, total_steps=total_steps),
            training=config.ema.target_statistics == "own",
        )

    @classmethod
    def create_network(cls, config) -> nn.Module:
        """The network of a config: the keys of `config.model` are its attributes, except for those of the backbone."""
        model, dtype = dict(config.model), jnp.dtype(config.dtype)
        backbone = [model.pop(key) for key in ("backbone", "width", "output_stride")]
        return cls.network_type(resnet.ResNet(*backbone, dtype), **model, dtype=dtype)

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """An initial state; the target starts as a copy of the online network."""
        images = jnp.zeros((1, self.config.image_size, self.config.image_size, 3))
        variables = self.network.init(rng, images, train=True, method="predict")
        params, statistics = variables["params"], {name: variables[name] for name in variables if name != "params"}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=statistics,
            target=jax.tree.map(jnp.copy, self.without_predictors(variables)),
            opt_state=self.optimizer.init(params),
        )

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """Two random views of every image, then one update."""
        config = self.config
        *keys, dropout_rng = jax.random.split(jax.random.fold_in(rng, state.step), 3)
        recipes = [
            views.View(size=config.image_size, mean=config.mean, std=config.std, **settings)
            for settings in (config.view1, config.view2)
        ]
        pair = (
            views.make_view(key, batch["image"], batch["size"], recipe)
            for key, recipe in zip(keys, recipes, strict=True)
        )
        return self.update(state, tuple(pair), dropout_rng)

    def update(self, state: TrainState, views: tuple[jax.Array, jax.Array], rng: jax.Array):
        """One step of LARS on given views (normalised, [B, S, S, 3] each), then an update of the target."""
        gradient = jax.grad(self.loss, has_aux=True)
        gradients, (metrics, statistics, target) = gradient(state.params, state.statistics, state.target, views, rng)
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = self.target.follow(target, self.without_predictors({"params": params, **statistics}), state.step)
        metrics |= {
            "learning_rate": self.learning_rate(state.step),
            "target_momentum": self.target.momentum(state.step),
        }
        return TrainState(state.step + 1, params, statistics, target, opt_state), metrics

    def loss(self, params, statistics, target, views, rng):
        """Total loss of two views, and `(metrics, statistics, target)` after the forwards."""
        (online1, online2), (target1, target2), statistics, target = self.forward(
            params, statistics, target, views, rng
        )
        total = losses.byol(online1["global_prediction"], target2["global"])
        total += losses.byol(online2["global_prediction"], target1["global"])
        metrics = {"total": total, "embedding_spread": embedding_spread(online1["global"])}
        return total, (metrics, statistics, target)

    def forward(self, params, statistics, target, views, rng):
        """Outputs of both networks for each view, `(online, target, statistics, target's variables)`."""
        online_rng, target_rng = jax.random.split(rng)
        both, apply = jnp.stack(views), functools.partial(apply_to_views, self.network)
        options = dict(train=True, method="predict", rngs={"dropout": online_rng}, mutable=list(statistics))
        online, statistics = apply({"params": params, **statistics}, both, **options)
        targets, target = self.target.forward(apply, target, both, target_rng)
        return online, targets, statistics, target

    @functools.cached_property
    def architecture(self) -> PooledResNet:
        """The backbone, whose grid is averaged."""
        model = self.config.model
        return PooledResNet(model.backbone, model.width, model.output_stride, self.config.dtype)

    @classmethod
    def without_predictors(cls, variables: dict) -> dict:
        """The part of the online network's variables that the target also has."""
        return {
            collection: {name: tree for name, tree in trees.items() if name not in cls.predictors}
            for collection, trees in variables.items()
        }
