"""FRA: views of a face agree as a whole and region by region (Gao & Patras, CVPR 2024, arXiv:2403.02138)."""

import functools

import jax

from facejax import losses
from facejax.architectures.fra_regions import FRARegions
from facejax.config_schema import methods as schemas
from facejax.methods.byol import BYOL
from facejax.methods.collapse import assignment_entropy, embedding_spread
from facejax.methods.method import Batch
from facejax.models.fra import FRANetwork
from facejax.train_state import TrainState


class FRA(BYOL):
    """FRA, bound to a config. Config keys: `loss`, and those of `BYOL`."""

    schema = schemas.FRA
    network_type = FRANetwork
    predictors = ("predictor", "region_predictor")

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """An initial state; the target has its own prototypes."""
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
        """Every grid cell of the global batch is a sample, with the same view on both sides."""
        regions = self.config.model.num_regions
        return losses.cluster_assignment(
            online["dots"].reshape(-1, regions),
            target["dots"].reshape(-1, regions),
            student_temperature=self.config.loss.student_temperature,
            teacher_temperature=self.config.loss.teacher_temperature,
            entropy_weight=self.config.loss.entropy_weight,
            sinkhorn_iterations=self.config.loss.sinkhorn_iterations,
        )

    @functools.cached_property
    def architecture(self) -> FRARegions:
        """The backbone and what finds regions on its grid."""
        model = self.config.model
        return FRARegions(
            backbone=model.backbone,
            width=model.width,
            output_stride=model.output_stride,
            dtype=self.config.dtype,
            embedding_dim=model.embedding_dim,
            hidden_dim=model.hidden_dim,
            num_regions=model.num_regions,
            heatmap_temperature=model.heatmap_temperature,
            picture_temperature=self.config.loss.student_temperature,
        )
