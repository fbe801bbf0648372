"""The kind of network of an encoder: builds and applies it."""

import abc
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt8
from pydantic import ConfigDict

from facejax.errors import UserError
from facejax.pictures import Caption

SETTINGS = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # of every architecture's fields
Dtype = Literal["float32", "bfloat16", "float64"]


class Architecture(abc.ABC):
    """A kind of network with its settings; subclasses are frozen dataclasses with JSON values as fields.

    Images are normalised, [N, S, S, 3]; variables are Flax's, in the structure of `shapes`. All functions are pure and
    can be jitted. Some architectures have further functions:

      `heatmaps(variables, images)` -> float32 [N, h, w, Q]: how much of each cell of a grid belongs to each region;
      `landmarks(variables, images)` -> float32 [N, P, 2]: (x, y) in pixels of the square;
      `reconstruct(variables, images, poses)` -> float32 [N, s, s, 3] in [0, 1]: each face in the pose of another image.

    Attributes:
      kinds: of the features, in their order.
      captions: name of a picture -> its explanation.
    """

    kinds: tuple[str, ...]
    captions: ClassVar[Mapping[str, Caption]] = {}

    @abc.abstractmethod
    def init(self, rng: jax.Array, images: jax.Array) -> dict[str, Any]:
        """Random variables of everything needed after training, for images of this shape."""

    @abc.abstractmethod
    def encode(self, variables, images: Float[ArrayLike, "N S S 3"]) -> dict[str, Float[Array, "N _"]]:
        """`{kind: features}`, float32 [N, D]."""

    def pictures(
        self, variables, images: Float[ArrayLike, "N S S 3"], pixels: UInt8[ArrayLike, "N S S 3"]
    ) -> dict[str, UInt8[Array, "N _ _ 3"]]:
        """`{name: uint8 [N, H, W, 3]}`, pictures for a person to look at; `pixels` are the same images, uint8."""
        return {}

    def has(self, function: str) -> bool:
        """Whether there is a function of this name."""
        return hasattr(self, function)

    def shapes(self, size: int) -> dict[str, Any]:
        """Structure and shapes of the variables, for images of `size` px."""
        if size not in self._known_shapes:
            images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
            key = jax.eval_shape(lambda: jax.random.key(0))
            self._known_shapes[size] = jax.eval_shape(self.init, key, images)
        return self._known_shapes[size]

    @functools.cached_property
    def _known_shapes(self) -> dict[int, dict[str, Any]]:
        return {}  # tracing a transformer takes seconds

    def select(self, variables: Mapping, size: int, source: str) -> dict[str, Any]:
        """The variables that `shapes` lists.

        Args:
          variables: nested dicts, possibly with others.
          size: of the images, pixels.
          source: where they are from, for errors.

        Raises:
          UserError: one is missing, or has another shape; or there is no network of these settings.
        """
        try:
            shapes = self.shapes(size)
        except Exception as error:  # whatever a network makes of settings that somebody wrote
            raise UserError(f"{source}: there is no network of these settings: {self} ({error!s:.100})") from error

        def choose(wanted, found, path):
            if not isinstance(wanted, Mapping):
                if getattr(found, "shape", None) != wanted.shape:
                    has = "nothing" if found is None else getattr(found, "shape", "a group of arrays")
                    raise UserError(f"{source} does not fit its network: {path}: found {has}, needed {wanted.shape}")
                return found
            found = found if isinstance(found, Mapping) else {}
            return {name: choose(tree, found.get(name), f"{path}/{name}".strip("/")) for name, tree in wanted.items()}

        return choose(shapes, variables, "")
