"""ONNX: the network for ONNX Runtime and whatever else reads it, converted by jax2onnx."""

import functools
import importlib.util
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import export, lax
from jax.extend import core

from facejax.encoder import Encoder
from facejax.errors import UserError

FILE = "encoder.onnx"
OPSET = 20
TOLERANCE = 1e-4  # of the largest feature
INLINED = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat")


USAGE = f"""In ONNX Runtime:

```python
import onnxruntime

encoder = onnxruntime.InferenceSession("{FILE}")
KINDS = encoder.run(None, {{"images": images}})  # uint8 [N, SIZE, SIZE, 3], RGB -> float32 [N, D]
```"""


def check() -> None:
    """Raises UserError where the converter is missing."""
    for name in ("jax2onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--format=onnx needs {name}, which is not installed: pip install 'facejax[onnx]'")


def convert(encoder: Encoder) -> bytes:
    """The network as an ONNX model: `images` uint8 [N, S, S, 3], any N, to one output of each kind, float32 [N, D].

    ONNX Runtime runs it once, on noise.

    Raises:
      UserError: it does not give the encoder's features there.
    """
    model = _convert(encoder)
    check_features(model, encoder)
    return model


def usage(encoder: Encoder) -> str:
    """How the file is used, Markdown."""
    kinds = ", ".join(encoder.kinds) + ("," if len(encoder.kinds) == 1 else "")
    return USAGE.replace("SIZE", str(encoder.preprocessing.size)).replace("KINDS", kinds)


def _convert(encoder: Encoder) -> bytes:
    from jax2onnx import to_onnx

    size, kinds = encoder.preprocessing.size, encoder.kinds
    images = jax.ShapeDtypeStruct(export.symbolic_shape(f"N, {size}, {size}, 3"), np.uint8)

    def apply(images):
        features = encoder.apply(encoder.variables, images)
        return [features[kind] for kind in kinds]

    traced = jax.make_jaxpr(apply)(images)  # outside of the converter, which replaces functions of JAX while it traces
    model = to_onnx(
        functools.partial(evaluate, traced.jaxpr, traced.consts),
        [images],
        model_name="facejax",
        opset=OPSET,
        input_names=["images"],
        output_names=list(kinds),
    )
    return model.SerializeToString()


def check_features(model: bytes, encoder: Encoder) -> None:
    """Raises UserError if ONNX Runtime gives other features than the encoder, on noise."""
    import onnxruntime

    size = encoder.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    wanted = encoder.compiled("encode")(encoder.variables, images)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for kind, found in zip(encoder.kinds, session.run(None, {"images": images}), strict=True):
        error = np.abs(found - wanted[kind]).max() / np.abs(wanted[kind]).max()
        if not error <= TOLERANCE:
            raise UserError(f"ONNX Runtime gives other features: '{kind}' differs by {error:.1g} of the largest")


def evaluate(jaxpr: core.Jaxpr, constants: Sequence, *arguments) -> list:
    """Runs a jaxpr, calls inlined, with what stands in `_REPLACED` in the place of what has no ONNX operator."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        name, inputs = equation.primitive.name, [read(atom) for atom in equation.invars]
        if name in INLINED:
            called = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"]
            outputs = evaluate(called.jaxpr, called.consts, *inputs)
        elif name == "cond" and isinstance(inputs[0], int):
            branch = equation.params["branches"][inputs[0]]
            outputs = evaluate(branch.jaxpr, branch.consts, *inputs[1:])
        else:
            run = _REPLACED.get(name, equation.primitive.bind)
            outputs = run(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _platform_index(platforms) -> int:
    """The branch of `jax.lax.platform_dependent` that is for no platform in particular."""
    return platforms.index(None)


def _max_pool(x, *, window_dimensions, window_strides, padding, **_):
    """The converter makes a pooling over four axes of the primitive, and leaves out the padding of Flax's function.

    The rim is repeated in its place: wherever a window reaches beyond it, it holds the rim itself as well.
    """
    for axis, (before, after) in enumerate(padding):
        if before or after:
            first, last = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, -1, None, axis=axis)
            x = lax.concatenate([first] * before + [x] + [last] * after, axis)
    return nn.max_pool(x, window_shape=window_dimensions[1:3], strides=window_strides[1:3], padding="VALID")


def _pad(x, value, *, padding_config):
    """The converter pads no symbolic shape."""
    for axis, (before, after, interior) in enumerate(padding_config):
        if interior or before < 0 or after < 0:
            raise NotImplementedError(f"padding {padding_config}")

        for width, first in ((before, True), (after, False)):
            if width:
                rim = lax.broadcast(value, (*x.shape[:axis], width, *x.shape[axis + 1 :]))
                x = lax.concatenate([rim, x] if first else [x, rim], axis)
    return x


def _gather(images, starts, *, dimension_numbers, slice_sizes, **others):
    """Windows [B, P, m, n, C] of images [B, H, W, C] at `starts` [B, P, 3], by products with rows that have one 1.

    So patches around landmarks are gathered; of all ways to gather this is the one that the converter does not know.
    """
    if not dimension_numbers.operand_batching_dims:
        return lax.gather_p.bind(images, starts, dimension_numbers=dimension_numbers, slice_sizes=slice_sizes, **others)
    _, height, width, _ = slice_sizes

    def rows_of_one(axis, length):
        wanted = starts[..., axis, None] + np.arange(length, dtype=np.int32)
        return (wanted[..., None] == np.arange(images.shape[axis + 1], dtype=np.int32)).astype(images.dtype)

    strips = jnp.einsum("bpmh,bhwc->bpmwc", rows_of_one(0, height), images)
    return jnp.einsum("bpnw,bpmwc->bpmnc", rows_of_one(1, width), strips)


_REPLACED: dict[str, Callable] = {
    "gather": _gather,
    "pad": _pad,
    "platform_index": _platform_index,
    "reduce_window_max": _max_pool,
}
