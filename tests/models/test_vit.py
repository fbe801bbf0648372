"""The vision transformers of DeiT and CLIP, compared with NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_inputs import generator
from scipy import special

from facejax.models.vit import VisionTransformer

SETTINGS = {"patch_size": 4, "grid": 3, "width": 128, "depth": 2, "mlp_width": 24}


def norm(x, params, epsilon):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * params["scale"] + params["bias"]


def linear(x, params):
    return x @ params["kernel"] + params.get("bias", 0)


def reference(images, params, *, clip):
    """[N, 12, 12, 3] -> class tokens [N, 128]."""
    epsilon = 1e-5 if clip else 1e-6
    activate = (lambda x: x / (1 + np.exp(-1.702 * x))) if clip else (lambda x: x * special.ndtr(x))
    embed, tokens = params["patch_embedding"], []
    for top in range(0, 12, 4):
        for left in range(0, 12, 4):
            patch = images[:, top : top + 4, left : left + 4]
            tokens.append(np.einsum("nyxc,yxcd->nd", patch, embed["kernel"]) + embed.get("bias", 0))
    class_token = np.broadcast_to(params["class_token"], (len(images), 1, 128))
    x = np.concatenate([class_token, np.stack(tokens, 1)], 1) + params["positions"]
    if clip:
        x = norm(x, params["input_norm"], epsilon)
    for index in range(2):
        block = params[f"block{index}"]
        query, key, value = np.split(linear(norm(x, block["norm1"], epsilon), block["qkv"]), 3, axis=-1)
        heads = []
        for head in (slice(0, 64), slice(64, 128)):
            logits = query[..., head] @ key[..., head].swapaxes(1, 2) / 8
            heads.append(special.softmax(logits, -1) @ value[..., head])
        x = x + linear(np.concatenate(heads, -1), block["out"])
        x = x + linear(activate(linear(norm(x, block["norm2"], epsilon), block["hidden"])), block["output"])
    return norm(x[:, 0], params["norm"], epsilon)


@pytest.mark.parametrize("variant", ["deit", "clip"])
def test_class_token_is_numpys(variant):
    network = VisionTransformer(**SETTINGS, variant=variant, projection_dim=5 if variant == "clip" else 0)
    rng = generator()
    images = rng.normal(size=(2, 12, 12, 3))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 12, 12, 3))))
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape) / 8, shapes)
    found = jax.jit(network.apply)(jax.tree.map(jnp.float32, variables), images.astype(np.float32))
    wanted = reference(images, variables["params"], clip=variant == "clip")
    np.testing.assert_allclose(found["embedding"], wanted, atol=2e-5 * np.abs(wanted).max())
    if variant == "clip":
        projection = wanted @ variables["params"]["projection"]["kernel"]
        np.testing.assert_allclose(found["projection"], projection, atol=2e-5 * np.abs(projection).max())
    else:
        assert set(found) == {"embedding"}
