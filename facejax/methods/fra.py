"""FRA: views of a face agree as a whole and region by region (Gao & Patras, CVPR 2024, arXiv:2403.02138)."""

import jax
import jax.numpy as jnp

from facejax import losses
from facejax.methods.byol import BYOL
from facejax.methods.collapse import assignment_entropy, embedding_spread
from facejax.methods.method import Batch
from facejax.models.fra import FRANetwork
from facejax.pictures import Caption, overlay_regions, region_colors
from facejax.train_state import TrainState


class FRA(BYOL):
    """FRA, bound to a config. Fields that are read: `loss`, besides those of `BYOL`."""

    network_type = FRANetwork
    predictors = ("predictor", "region_predictor")

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """A fresh state; the target has prototypes of its own."""
        rng, prototypes_rng = jax.random.split(rng)
        state = super().init(rng, batch)
        prototypes = jax.tree.map(lambda p: jax.random.normal(prototypes_rng, p.shape), state.statistics["prototypes"])
        return state.replace(target=state.target | {"prototypes": prototypes})

    def loss(self, params, statistics, target, views, rng):
        """Total loss of two views, and `(metrics, statistics, target)` after the forwards."""
        (online1, online2), (target1, target2), statistics, target = self.forward(
            params, statistics, target, views, rng
        )
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
