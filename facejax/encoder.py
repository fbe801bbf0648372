"""The result of every run and the input of every evaluation: a network with its weights, which embeds images."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from pydantic import TypeAdapter, ValidationError

from facejax import embedding, encoder_folder, hub, paths
from facejax.architectures import ARCHITECTURES, Architecture, name_of
from facejax.embedding import Source
from facejax.errors import UserError
from facejax.interop import encoder_keys
from facejax.pictures import Caption
from facejax.preprocessing import Preprocessing
from facejax.processes import to_host

if TYPE_CHECKING:
    from facejax.methods import Method
    from facejax.train_state import TrainState

Images = np.ndarray | Sequence[Source]
HINTS = ("entry", "landmark_network", "mask")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """Turns images into features.

    Attributes:
      architecture: the kind of network, with its settings.
      variables: its weights: nested dicts of arrays, for Flax's `apply`.
      preprocessing: of images for the network.
      card: JSON values that describe it and its origin: `method`, `source`, `steps`, `data`, `metrics`, ..., as far as
        they are known.

    Examples:
      >>> encoder = Encoder.random("resnet", {"backbone": "resnet18", "width": 4}, Preprocessing(size=32))
      >>> encoder.kinds, encoder.embed(np.zeros((2, 48, 40, 3), np.uint8)).shape
      (('pooled',), (2, 32))
    """

    architecture: Architecture
    variables: Mapping[str, Any]
    preprocessing: Preprocessing
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def create(
        cls, architecture: Architecture, variables: Mapping, preprocessing: Preprocessing, card: Mapping[str, Any]
    ) -> "Encoder":
        """An encoder with the variables that it needs.

        Raises:
          UserError: one is missing or has another shape; it names `card["source"]`.
        """
        chosen = architecture.select(variables, preprocessing.size, str(card.get("source", "the encoder")))
        return cls(architecture, chosen, preprocessing, card)

    @classmethod
    def of_method(cls, method: "Method", state: "TrainState", card: Mapping[str, Any] | None = None) -> "Encoder":
        """The encoder of a method in a state; arrays stay on their devices."""
        variables = method.eval_variables(state)
        return cls.create(method.architecture, variables, method.preprocessing, card or {})

    @classmethod
    def random(cls, name: str, settings: Mapping[str, Any], preprocessing: Preprocessing, seed: int = 0) -> "Encoder":
        """An encoder with random weights; `name` is a key of `facejax.architectures.ARCHITECTURES`."""
        return cls.untrained(_architecture(name, settings, "settings"), preprocessing, seed)

    @classmethod
    def untrained(cls, architecture: Architecture, preprocessing: Preprocessing, seed: int = 0) -> "Encoder":
        """An encoder of this architecture with random weights."""
        shape = (1, preprocessing.size, preprocessing.size, 3)
        variables = jax.jit(lambda key: architecture.init(key, jnp.zeros(shape)))(jax.random.key(seed))
        return cls.create(architecture, variables, preprocessing, {"method": "random"})

    # --- Features

    def apply(self, variables, images: jax.Array) -> dict[str, jax.Array]:
        """`{kind: float32 [N, D]}` of uint8 images [N, S, S, 3], with S = `preprocessing.size`; pure, can be jitted."""
        return self.architecture.encode(variables, self.preprocessing.normalize(images))

    @functools.cached_property
    def dimensions(self) -> dict[str, int]:
        """Length D of the features of each kind."""
        size = self.preprocessing.size
        images = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
        features = jax.eval_shape(self.apply, self.architecture.shapes(size), images)
        return {kind: features[kind].shape[1] for kind in self.kinds}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of features; the first is the default."""
        return self.architecture.kinds

    def embed(self, images: Images, kind: str | None = None, flip: bool = False) -> np.ndarray:
        """Features of any number of images of any size, float32 [N, D].

        Batches are padded to one shape, which is compiled once, and split over all devices of this process.

        Args:
          images: paths, or uint8 [N, H, W, 3], or a list of uint8 [H, W, 3] that may differ in size; RGB.
          kind: one of `kinds`; None: the first.
          flip: add the features of the mirror image, as in evaluations of recognition.

        Raises:
          UserError: no such kind, or an image that cannot be read.
        """
        kind = self.kind(kind)
        rows = [part.features[kind] for part in embedding.parts(self, _sources(images), flip=flip)]
        return np.concatenate(rows) if rows else np.zeros((0, self.dimensions[kind]), np.float32)

    def kind(self, kind: str | None) -> str:
        """The named kind, or the default.

        Raises:
          UserError: there is no such kind.
        """
        if kind is not None and kind not in self.kinds:
            raise UserError(f"there are no features '{kind}': this encoder has {', '.join(self.kinds)}")
        return self.kinds[0] if kind is None else kind

    def fit(self, source: Source) -> list[np.ndarray]:
        """The square uint8 [S, S, 3] that an image is fitted to, as a list of one; the image is a path or an array.

        Raises:
          ValueError: it cannot be read, or is not an image.
        """
        if not isinstance(source, np.ndarray):  # a JPEG may be decoded smaller, as in the evaluations of training
            source = embedding.decode(source, at_least=2 * self.preprocessing.size)
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise ValueError(f"expected an image uint8 [H, W, 3], got {source.dtype} {list(source.shape)}")
        return [self.preprocessing.fit_to_square(source)]

    # --- A look inside

    @property
    def captions(self) -> Mapping[str, Caption]:
        """Explanations of `pictures`."""
        return self.architecture.captions

    def pictures(self, images: Images) -> dict[str, np.ndarray]:
        """`{name: uint8 [N, H, W, 3]}`, pictures of a few images, which are given as for `embed`."""
        return self._look("pictures", images)

    def heatmaps(self, images: Images) -> np.ndarray:
        """How much of each cell of a grid belongs to each region (FRA): float32 [N, h, w, Q]."""
        return self._look("heatmaps", images)

    def landmarks(self, images: Images) -> np.ndarray:
        """Learned points (Part fViT, LAFS), float32 [N, P, 2]: (x, y) in pixels of the square of side S."""
        return self._look("landmarks", images)

    def reconstruct(self, images: Images, poses: Images | None = None) -> np.ndarray:
        """Faces as the decoder draws them (PCL), uint8 [N, s, s, 3]; in the poses of other images if given.

        Raises:
          UserError: there is no decoder, or not as many poses as images.
        """
        faces = self._squares(images)
        poses = faces if poses is None else self._squares(poses)
        if len(poses) != len(faces):
            raise UserError(f"{len(faces)} images cannot be drawn in {len(poses)} poses: give as many")
        self._check_has("reconstruct")
        drawn = self.compiled("reconstruct")(self.variables, faces, poses)
        return np.asarray(np.round(255 * np.asarray(drawn)), np.uint8)

    def _look(self, what: str, images: Images):
        self._check_has(what)
        return jax.tree.map(np.asarray, self.compiled(what)(self.variables, self._squares(images)))

    def _check_has(self, what: str) -> None:
        if not self.architecture.has(what):
            name = self.card.get("method", "this kind")
            raise UserError(f"an encoder of {name} ({type(self.architecture).__name__}) has no {what}")

    def _squares(self, images: Images) -> np.ndarray:
        sources = _sources(images)
        read = embedding.read_ahead(sources, self.fit, embedding.stop_at_unreadable(sources))
        squares = [square for _, square in read]
        if not squares:
            raise UserError("no images were given")
        return np.stack(squares)

    # --- On devices

    def compiled(self, what: str, out_shardings=None) -> Callable:
        """`what` ("encode", "pictures", "heatmaps", "landmarks", "reconstruct") of the architecture, jitted.

        It is called with variables and uint8 images [N, S, S, 3]. Encoders with equal settings share it, so it is
        compiled once for each shape.
        """
        return _compiled(self.architecture, self.preprocessing, what, out_shardings)

    def placed(self, sharding: jax.sharding.Sharding) -> Any:
        """The variables on devices; the last placement is cached."""
        if self._placement.get("sharding") != sharding:
            self._placement.update(sharding=sharding, variables=jax.device_put(self.variables, sharding))
        return self._placement["variables"]

    @functools.cached_property
    def _placement(self) -> dict[str, Any]:
        return {}

    # --- On disk

    def description(self) -> dict[str, Any]:
        """All but the variables, as `facejax.json` has it."""
        return {
            "method": self.card.get("method"),
            "architecture": name_of(self.architecture),
            "config": dataclasses.asdict(self.architecture),
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "card": dict(self.card),
        }

    def save(self, folder: epath.PathLike, *, replace: bool = False) -> None:
        """Writes the encoder into a folder that `facejax.load` reads: `facejax.json` and `weights.safetensors`.

        With several processes, all of them must call it; the first one writes.

        Args:
          folder: a local path or a URL.
          replace: whether to replace an existing encoder.

        Raises:
          UserError: an encoder exists (unless `replace`), or the folder is not writable.
        """
        variables = jax.tree.map(to_host, self.variables)
        if jax.process_index() == 0:
            encoder_folder.write(paths.resolve(folder), self.description(), variables, replace=replace)


def load(source: epath.PathLike, **hints: Any) -> Encoder:
    """Loads an encoder from any source of weights, without executing anything in it.

    Args:
      source: workdir of a run; the folder of an encoder, such as a run's `WORKDIR/encoder`; an official file
        (`.pth`, `.pt`, `.tar`, `.bin`, `.safetensors`) of FRA, LEWEL, PCL, LAFS or Part fViT, of a ResNet with
        torchvision's names, a ViT with those of DeiT, DINO or timm, or of FaRL; or `hf://ORG/NAME[@REVISION]` with one
        of these.
      **hints: facts that an official file does not contain. `landmark_network`: of a LAFS student or teacher, the
        workdir or the file of a Part fViT; without it patches lie on a grid. `entry`: "student", where the file has a
        teacher too. `mask`: "group" or "max", of LEWEL.

    Raises:
      UserError: `source` does not exist, is damaged, or is inconsistent.

    Examples:
      >>> encoder = load("workdirs/demo")
      >>> encoder.embed(["one.jpg", "another.jpg"]).shape
      (2, 512)
    """
    if unknown := hints.keys() - HINTS:
        raise UserError(f"load: there is no hint '{min(unknown)}'; there are: {', '.join(HINTS)}")
    path = hub.download(source) if hub.is_on_hub(source) else paths.resolve(source)
    if not path.exists():
        raise UserError(f"there is no {path}: name a workdir, the folder of an encoder, or a file with weights")
    if not path.is_dir():
        from facejax.interop import official

        return official.read(path, **hints)
    if hints:
        raise UserError(f"{path} is a folder, which needs no hint '{min(hints)}'")
    if encoder_folder.exists(path):
        return _of_folder(path)
    from facejax import workdir_encoder  # imports all methods, which other sources do not need

    return workdir_encoder.read(path)


def _of_folder(folder: epath.Path) -> Encoder:
    description, variables = encoder_folder.read(folder)
    file = folder / encoder_folder.DESCRIPTION
    card = description.get("card")
    if not isinstance(card, dict):
        raise UserError(f"{file} has no card: it is not of an encoder")
    architecture = _architecture(description.get("architecture"), description.get("config"), str(file))
    preprocessing = _validated(Preprocessing, description.get("preprocessing"), f"{file}: preprocessing")
    if "keys" in description:
        arrays, source = variables, str(folder / encoder_folder.WEIGHTS)
        variables = encoder_keys.from_torch(architecture, preprocessing.size, arrays, source)
    return Encoder.create(architecture, variables, preprocessing, {**card, "source": str(folder)})


def _architecture(name: Any, settings: Any, source: str) -> Architecture:
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise UserError(f"{source}: unknown architecture {name!r}; there are: {', '.join(ARCHITECTURES)}")
    return _validated(ARCHITECTURES[name], settings, f"{source}: config")


def _validated(kind: type, values: Any, where: str):
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join((where, *map(str, first["loc"])))
        raise UserError(f"{place}: {first['msg']} (it is {first['input']!r:.80})") from None


def _sources(images: Images) -> Sequence[Source]:
    if isinstance(images, str) or not isinstance(images, np.ndarray | Sequence):
        raise UserError("images are a list of paths, a list of arrays, or one array uint8 [N, H, W, 3]")
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise UserError(f"images as an array are uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}")
    return images


@functools.cache
def _compiled(architecture: Architecture, preprocessing: Preprocessing, what: str, out_shardings) -> Callable:
    function = getattr(architecture, what)

    def run(variables, *batches):
        normalized = [preprocessing.normalize(images) for images in batches]
        return function(variables, *normalized, *([batches[0]] if what == "pictures" else []))

    return jax.jit(run, out_shardings=out_shardings)
