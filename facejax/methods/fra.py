"""FRA: views of a face agree as a whole and region by region (Gao & Patras, CVPR 2024, arXiv:2403.02138)."""

import jax
import jax.numpy as jnp
import optax

from facejax import losses, optimizers, schedules
from facejax.data import photometry, views
from facejax.methods.collapse import assignment_entropy, embedding_spread
from facejax.methods.joint_views import side_by_side, views_apart
from facejax.methods.method import Batch, Method
from facejax.methods.momentum_target import MomentumTarget
from facejax.models import resnet
from facejax.models.fra import FRANetwork
from facejax.pictures import Caption, overlay_regions, region_colors
from facejax.train_state import TrainState

PREDICTORS = ("predictor", "region_predictor")  # submodules that only the online network has


class FRA(Method):
    """FRA, bound to a config.

    Fields that are read: `image_size`, `mean`, `std`, `dtype`, `epochs`; all of `model`, `loss`, `optimizer` and
    `ema`; `view1` and `view2`, which hold further arguments of `facejax.data.views.make_view`.
    """

    def __init__(self, config, *, steps_per_epoch: int, total_steps: int):
        super().__init__(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        self.network = create_network(config)
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
                lambda params: {name: name in PREDICTORS for name in params},
            ),
        )
        self.target = MomentumTarget(
            self.network,
            schedules.cosine_momentum(config.ema.momentum, total_steps=total_steps),
            training=config.ema.target_statistics == "own",
        )

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """A fresh state; the target starts as a copy of the online network, with prototypes of its own."""
        size, (rng, prototypes_rng) = self.config.image_size, jax.random.split(rng)
        images = jnp.zeros((2, size, size, 3))
        variables = self.network.init(rng, images, train=True, method="predict")
        params, statistics = variables["params"], {name: variables[name] for name in variables if name != "params"}
        prototypes = jax.tree.map(lambda p: jax.random.normal(prototypes_rng, p.shape), statistics["prototypes"])
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=statistics,
            target=jax.tree.map(jnp.copy, without_predictors(variables)) | {"prototypes": prototypes},
            opt_state=self.optimizer.init(params),
        )

    def train_step(self, state: TrainState, batch: Batch, rng: jax.Array):
        """Two random views of every image, then one update."""
        key1, key2, dropout_rng = jax.random.split(jax.random.fold_in(rng, state.step), 3)
        return self.update(state, (self._view(key1, batch, "view1"), self._view(key2, batch, "view2")), dropout_rng)

    def _view(self, key, batch, name):
        config = self.config
        return views.make_view(
            key,
            batch["image"],
            batch["size"],
            size=config.image_size,
            mean=config.mean,
            std=config.std,
            **config[name],
        )

    def update(self, state: TrainState, views: tuple[jax.Array, jax.Array], rng: jax.Array):
        """One step of LARS on given views (normalised, [B, S, S, 3] each), then the target follows."""
        gradient = jax.grad(self.loss, has_aux=True)
        gradients, (metrics, statistics, target) = gradient(state.params, state.statistics, state.target, views, rng)
        updates, opt_state = self.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = self.target.follow(target, without_predictors({"params": params, **statistics}), state.step)
        metrics |= {
            "learning_rate": self.learning_rate(state.step),
            "target_momentum": self.target.momentum(state.step),
        }
        return TrainState(state.step + 1, params, statistics, target, opt_state), metrics

    def loss(self, params, statistics, target, views, rng):
        """Total loss of two views, and `(metrics, statistics, target)` after the forwards."""
        online_rng, target_rng = jax.random.split(rng)
        (online1, online2), statistics = self.forward_online(params, statistics, views, online_rng)
        targets, target = self.target.forward(target, side_by_side(jnp.stack(views)), target_rng)
        target1, target2 = separate(targets)

        weights = self.config.loss
        instance = losses.byol(online1["global_prediction"], target2["global"])
        instance += losses.byol(online2["global_prediction"], target1["global"])
        region = self._region_loss(online1, target2) + self._region_loss(online2, target1)
        cluster = (self._cluster_loss(online1, target1) + self._cluster_loss(online2, target2)) / 2
        base = weights.instance_weight * instance + weights.region_weight * region
        total = base + weights.cluster_weight * cluster
        metrics = {
            "total": total,
            "base": base,
            "instance": instance,
            "region": region,
            "cluster": cluster,
            "embedding_spread": embedding_spread(online1["global"]),
            "assignment_entropy": assignment_entropy(online1["dots"] / weights.student_temperature),
        }
        return total, (metrics, statistics, target)

    def forward_online(self, params, statistics, views, rng):
        """Outputs with predictions for each view, and the statistics that these training forwards moved."""
        outputs, statistics = self.network.apply(
            {"params": params, **statistics},
            side_by_side(jnp.stack(views)),
            train=True,
            method="predict",
            rngs={"dropout": rng},
            mutable=list(statistics),
        )
        return separate(outputs), statistics

    def _region_loss(self, online, target):
        weight = self.config.loss.decorrelation_weight
        return losses.region_consistency(online["region_prediction"], target["regions"], weight)

    def _cluster_loss(self, online, target):
        """Every grid cell of the global batch is a sample, the same view on both sides."""
        regions = self.config.model.num_regions
        return losses.cluster_assignment(
            online["dots"].reshape(-1, regions),
            target["dots"].reshape(-1, regions),
            student_temperature=self.config.loss.student_temperature,
            teacher_temperature=self.config.loss.teacher_temperature,
            entropy_weight=self.config.loss.entropy_weight,
            sinkhorn_iterations=self.config.loss.sinkhorn_iterations,
        )

    def encode(self, variables, images: jax.Array) -> dict[str, jax.Array]:
        """Backbone features `pooled` [N, C], float32, of uint8 images [N, S, S, 3]."""
        return {"pooled": self.network.apply(variables, self._normalize(images), method="encode")}

    @property
    def captions(self) -> dict[str, Caption]:
        """What explains `pictures`."""
        colors = region_colors(self.config.model.num_regions)
        legend = tuple((f"region {index}", tuple(color)) for index, color in enumerate(colors.tolist()))
        return {
            "heatmaps": Caption("regions, the more opaque the surer the encoder is", legend=legend),
            "segmentation": Caption("the most probable region, however sure", legend=legend),
        }

    def pictures(self, variables, images: jax.Array) -> dict[str, jax.Array]:
        """The regions over the images, uint8 [N, S, S, 3], one colour a region.

        `heatmaps` shows the most probable region, the stronger the surer the student is of it, `segmentation` whatever
        the probability. Each image is seen alone: the prototypes stand for the batch.
        """
        dots = self.network.apply(variables, self._normalize(images), train=False)["dots"]
        dots = jax.image.resize(dots, (*images.shape[:3], dots.shape[-1]), "bicubic")
        soft = jax.nn.softmax(dots / self.config.loss.student_temperature)
        hard = jax.nn.one_hot(dots.argmax(-1), dots.shape[-1])
        return {
            "heatmaps": overlay_regions(images, jnp.moveaxis(soft, -1, 1)),
            "segmentation": overlay_regions(images, jnp.moveaxis(hard, -1, 1)),
        }

    def _normalize(self, images):
        return photometry.normalize(images.astype(jnp.float32) / 255, self.config.mean, self.config.std)


def create_network(config) -> FRANetwork:
    """The network that a config describes."""
    dtype, model = jnp.dtype(config.dtype), config.model
    return FRANetwork(
        backbone=resnet.ResNet(model.backbone, model.width, model.output_stride, dtype, num_views=2),
        embedding_dim=model.embedding_dim,
        hidden_dim=model.hidden_dim,
        num_regions=model.num_regions,
        decoder_layers=model.decoder_layers,
        decoder_heads=model.decoder_heads,
        dropout=model.dropout,
        heatmap_temperature=model.heatmap_temperature,
        prototype_momentum=model.prototype_momentum,
        dtype=dtype,
        num_views=2,
    )


def separate(outputs: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The outputs of each view, from those of both in one batch."""
    pairs = {name: views_apart(array) for name, array in outputs.items()}
    return tuple({name: pair[view] for name, pair in pairs.items()} for view in range(2))


def without_predictors(variables: dict) -> dict:
    """The part of the online network's variables that the target has too."""
    return {
        collection: {name: tree for name, tree in trees.items() if name not in PREDICTORS}
        for collection, trees in variables.items()
    }
