"""Encoders that something is trained on top of: made as a config says, and given the weights that it names."""

import jax
import jax.numpy as jnp

from facejax import encoder
from facejax.architectures.part_fvit import PartFViT
from facejax.architectures.pooled_resnet import PooledResNet
from facejax.interop import pretrained
from facejax.models.fvit import FaceTransformer, FViT
from facejax.models.landmarks import LandmarkNetwork
from facejax.models.resnet import ResNet


def architecture(config) -> PooledResNet | PartFViT:
    """The encoder of a config that has a group `resnet` or a group `transformer`, as it is after training."""
    if "transformer" not in config:
        return PooledResNet(config.resnet.variant, config.resnet.width, config.resnet.output_stride, config.dtype)
    model = config.transformer
    return PartFViT(
        model.size,
        model.num_points,
        model.patch_size,
        model.geometry,
        has_landmarks=model.landmarks,
        dtype=config.dtype,
        landmark_dtype=config.dtype,
    )


def create(config) -> ResNet | FaceTransformer:
    """The same encoder as a module for training, which may drop out."""
    if "transformer" in config:
        return face_transformer(config.transformer, jnp.dtype(config.dtype))
    return architecture(config).trunk


def face_transformer(model, dtype) -> FaceTransformer:
    """(Part) fViT of a group of keys of a config; see `RecognitionTransformer` in `facejax.config_schema.methods`."""
    return FaceTransformer(
        FViT(
            size=model.size,
            num_positions=model.num_points,
            dropout=model.dropout,
            stochastic_depth=model.stochastic_depth,
            dtype=dtype,
        ),
        LandmarkNetwork(model.num_points, model.landmark_start, model.landmark_dropout, dtype)
        if model.landmarks
        else None,
        patch_size=model.patch_size,
        geometry=model.geometry,
    )


def start_from(config, variables: dict) -> dict:
    """Variables of a network with a part `backbone`, which gets the weights that `config.initialize_from` names.

    Args:
      config: the experiment's.
      variables: arrays, or shapes, which are compared and returned as they are.

    Raises:
      UserError: there are no such weights, or they are of another network.
    """
    source = config.initialize_from
    if source == pretrained.RANDOM:
        return variables
    there = encoder.load(source).variables
    if "transformer" in there["params"].get("backbone", {}):  # fine-tuned before
        there = {kind: tree["backbone"] for kind, tree in there.items() if "backbone" in tree}
    chosen = architecture(config).select(there, config.image_size, str(source))
    if "transformer" in config:
        chosen = {kind: {"backbone": tree} for kind, tree in chosen.items()}
    loaded = {
        kind: pretrained.replace_weights({"backbone": variables[kind]["backbone"]}, tree, source)
        for kind, tree in chosen.items()
    }
    return variables | {kind: {**variables[kind], **tree} for kind, tree in loaded.items()}


def check_start(method) -> None:
    """Compares the weights that a method's config names with the shapes that its `init` gives.

    Raises:
      UserError: see `start_from`.
    """
    if method.config.initialize_from != pretrained.RANDOM:
        rng = jax.eval_shape(lambda: jax.random.key(0))
        method.start_from(jax.eval_shape(method.init, rng, {}))
