"""StableHLO through `jax.export`: network and weights in one file, which runs without facejax wherever JAX does."""

import jax
import numpy as np
from jax import export

from facejax.encoder import Encoder

FILE = "encoder.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
USAGE = f"""In JAX, without facejax, on CPU, CUDA and TPU:

```python
from jax import export

encoder = export.deserialize(bytearray(open("{FILE}", "rb").read()))
features = encoder.call(images)  # uint8 [N, SIZE, SIZE, 3], RGB -> KINDS, float32 [N, D]
```"""


def check() -> None:
    """Nothing is needed that could be missing."""


def convert(encoder: Encoder) -> bytes:
    """A function of `images` uint8 [N, S, S, 3], any N, to `{kind: float32 [N, D]}`, as `jax.export` serialises it."""
    size = encoder.preprocessing.size
    images = jax.ShapeDtypeStruct(export.symbolic_shape(f"N, {size}, {size}, 3"), np.uint8)
    variables = jax.tree.map(np.asarray, encoder.variables)  # constants of the function
    apply = jax.jit(lambda images: encoder.apply(variables, images))
    return bytes(export.export(apply, platforms=PLATFORMS)(images).serialize())


def usage(encoder: Encoder) -> str:
    """How the file is used, Markdown."""
    kinds = ", ".join(f'features["{kind}"]' for kind in encoder.kinds)
    return USAGE.replace("SIZE", str(encoder.preprocessing.size)).replace("KINDS", kinds)
