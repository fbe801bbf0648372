"""SimCLR, PCL's baseline: only the contrast of faces (Chen et al., ICML 2020, arXiv:2002.05709)."""

import jax
import jax.numpy as jnp

from facejax import losses
from facejax.config_schema import methods as schemas
from facejax.data import views
from facejax.methods.pcl import PCL


class SimCLR(PCL):
    """PCL without decoder and pose: its trunk, face branch and projection, on crops, with plain negatives.

    Config keys as for `PCL`, with `config.batches.face` alone; `config.view` holds further arguments of
    `facejax.data.views.make_view`.
    """

    schema = schemas.SimCLR

    def face_inputs(self, key, images, sizes) -> dict[str, jax.Array]:
        """Two random views of each image, `views` [2, N, S, S, 3]."""
        config = self.config
        recipe = views.View(size=config.image_size, **config.view, **config.augmentation)
        pair = [views.make_view(view_key, images, sizes, recipe) for view_key in jax.random.split(key)]
        return {"views": jnp.stack(pair)}

    def face_loss(self, params, statistics, inputs):
        """Two views of an image agree among all others of the batch."""
        features, statistics = self._project("face", params, statistics, inputs["views"])
        return losses.info_nce(features, self.config.loss.temperature), {}, statistics
