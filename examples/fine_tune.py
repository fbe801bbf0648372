"""Fine-tunes an encoder with a linear head; the sub-folders of a folder of photos are the classes.

python examples/fine_tune.py workdirs/demo photos
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import facejax

encoder = facejax.load(sys.argv[1])
photos = sorted(path for path in pathlib.Path(sys.argv[2]).glob("*/*") if path.is_file())
classes = sorted({photo.parent.name for photo in photos})
images = np.stack([encoder.fit(photo)[0] for photo in photos])  # uint8 [N, S, S, 3]
labels = np.array([classes.index(photo.parent.name) for photo in photos])

kind = encoder.kinds[0]
head = {"kernel": jnp.zeros((encoder.dimensions[kind], len(classes))), "bias": jnp.zeros(len(classes))}
statistics = {name: tree for name, tree in encoder.variables.items() if name != "params"}  # stay as they are
params = {"encoder": encoder.variables["params"], "head": head}
# The head is new and learns fast, the encoder is moved gently.
optimizer = optax.multi_transform(
    {"encoder": optax.adamw(1e-5), "head": optax.adamw(1e-2)}, {"encoder": "encoder", "head": "head"}
)


def logits(params, images):
    """[N, S, S, 3] uint8 -> [N, classes]."""
    features = encoder.apply({"params": params["encoder"], **statistics}, images)[kind]
    return features @ params["head"]["kernel"] + params["head"]["bias"]


@jax.jit
def step(params, state, images, labels):
    """One update."""

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value


state, rng = optimizer.init(params), np.random.default_rng(0)
for number in range(50):
    chosen = rng.choice(len(images), 32)
    params, state, value = step(params, state, images[chosen], labels[chosen])
    if number % 10 == 0:
        print(f"step {number}: loss {value:.4f}")
print(f"done: loss {value:.4f}")
