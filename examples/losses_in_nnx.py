"""A contrastive loss in a loop of one's own, Flax NNX: the two views of a face are nearer than two faces.

python examples/losses_in_nnx.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from facejax import losses


class Network(nnx.Module):
    """Any network does that embeds a face, [N, D]."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 32, (4, 4), (4, 4), rngs=rngs)
        self.output = nnx.Linear(32, 16, rngs=rngs)

    def __call__(self, images):
        """[N, H, W, 3] -> [N, 16]."""
        return self.output(nnx.relu(self.conv(images)).mean((1, 2)))


def loss(network, view1, view2):
    """SimCLR's: both views stacked, [2N, D]."""
    return losses.info_nce(jnp.concatenate([network(view1), network(view2)]), temperature=0.1)


@nnx.jit
def step(network, optimizer, view1, view2):
    """One update."""
    value, gradient = nnx.value_and_grad(loss)(network, view1, view2)
    optimizer.update(network, gradient)
    return value


key = jax.random.key(0)
images = jax.random.uniform(key, (16, 32, 32, 3))  # your faces
network = Network(nnx.Rngs(0))
optimizer = nnx.Optimizer(network, optax.adam(1e-2), wrt=nnx.Param)
for number in range(100):
    noise = 0.1 * jax.random.normal(jax.random.fold_in(key, number), images.shape)  # your augmentation
    value = step(network, optimizer, images + noise, images[:, :, ::-1])
    if number % 20 == 0:
        print(f"step {number}: loss {value:.4f}")
print(f"done: loss {value:.4f}")
