"""FRA's losses in a loop of one's own, Flax linen: two views of an image agree, as a whole and region by region.

python examples/losses_in_linen.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from facejax import losses

REGIONS, DIM = 4, 16


class Network(nn.Module):
    """Any network does that embeds a face as a whole, [N, D], and its regions, [N, Q, D]."""

    @nn.compact
    def __call__(self, images):
        """[N, H, W, 3] -> [N, D], [N, Q, D]."""
        x = nn.relu(nn.Conv(32, (4, 4), (4, 4))(images)).mean((1, 2))
        return nn.Dense(DIM)(x), nn.Dense(REGIONS * DIM)(x).reshape(-1, REGIONS, DIM)


class Predictor(nn.Module):
    """Predicts the target's embeddings from the online network's."""

    @nn.compact
    def __call__(self, x):
        """[..., D] -> [..., D]."""
        return nn.Dense(DIM)(nn.relu(nn.Dense(32)(x)))


network, predict_face, predict_regions = Network(), Predictor(), Predictor()
optimizer = optax.adam(1e-3)


def loss(params, target_params, view1, view2):
    """Mean over the batch."""
    face, regions = network.apply(params["network"], view1)
    target_face, target_regions = network.apply(target_params, view2)  # no gradient flows into it
    return losses.byol(predict_face.apply(params["face"], face), target_face) + losses.region_consistency(
        predict_regions.apply(params["regions"], regions), target_regions
    )


@jax.jit
def step(params, target_params, state, view1, view2):
    """One update; the target follows slowly."""
    value, gradient = jax.value_and_grad(loss)(params, target_params, view1, view2)
    updates, state = optimizer.update(gradient, state)
    params = optax.apply_updates(params, updates)
    return params, optax.incremental_update(params["network"], target_params, 0.01), state, value


key = jax.random.key(0)
images = jax.random.uniform(key, (16, 32, 32, 3))  # your faces
params = {
    "network": network.init(key, images),
    "face": predict_face.init(key, jnp.zeros((1, DIM))),
    "regions": predict_regions.init(key, jnp.zeros((1, REGIONS, DIM))),
}
target_params, state = params["network"], optimizer.init(params)
for number in range(100):
    noise = 0.1 * jax.random.normal(jax.random.fold_in(key, number), images.shape)  # your augmentation
    view1, view2 = images + noise, images[:, :, ::-1]
    params, target_params, state, value = step(params, target_params, state, view1, view2)
    if number % 20 == 0:
        print(f"step {number}: loss {value:.4f}")
print(f"done: loss {value:.4f}")
