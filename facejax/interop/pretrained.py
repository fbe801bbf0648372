"""Weights of an earlier stage, from its workdir or from an official checkpoint."""

from collections.abc import Mapping

import jax
from etils import epath
from flax import traverse_util

from facejax import checkpoints, paths
from facejax.errors import UserError
from facejax.interop import lafs, weights_file
from facejax.sharding import path_name

RANDOM = "random"  # instead of a source in a config: keeps random weights


def landmark_network(source: epath.PathLike, *, shapes_only: bool = False) -> dict:
    """Variables of a landmark network.

    Args:
      source: workdir of a run of Part fViT or LAFS, or an official checkpoint (`.pth`) of Part fViT.
      shapes_only: read only descriptions of the arrays, not their data.

    Returns:
      `{"params", "batch_stats"}` for `facejax.models.landmarks.LandmarkNetwork`, NumPy arrays; with `shapes_only`,
      something with their shapes.

    Raises:
      UserError: `source` does not exist or is of another kind.
    """
    source = paths.resolve(source)
    if not _is_workdir(source):
        arrays = weights_file.read(source, shapes_only=shapes_only)
        return lafs.landmark_network_from_official(arrays, source=str(source))
    found = _read(source, ("frozen/landmark_network", "params/landmark_network"), shapes_only)
    if "frozen" in found:
        return found["frozen"]["landmark_network"]
    statistics = _read(source, ("statistics/batch_stats/landmark_network",), shapes_only)["statistics"]
    return {
        "params": found["params"]["landmark_network"],
        "batch_stats": statistics["batch_stats"]["landmark_network"],
    }


def transformer(source: epath.PathLike, *, size: str, shapes_only: bool = False) -> dict:
    """Parameters of a transformer: the teacher's, if there is one.

    Args:
      source: workdir of a run of fViT, Part fViT, LAFS or DINO-face, or an official checkpoint (`.pth`).
      size: a key of `facejax.models.fvit.SIZES`, for official checkpoints.
      shapes_only: read only descriptions of the arrays, not their data.

    Returns:
      Nested dict of NumPy arrays for `facejax.models.fvit.FViT`; with `shapes_only`, of something with their shapes.

    Raises:
      UserError: `source` does not exist or is of another kind.
    """
    source = paths.resolve(source)
    if not _is_workdir(source):
        arrays = weights_file.read(source, shapes_only=shapes_only)
        return lafs.transformer_from_official(arrays, size=size, source=str(source))["params"]
    found = _read(source, ("target/params/transformer", "params/transformer"), shapes_only)
    return (found.get("target") or found)["params"]["transformer"]


def replace_weights(here, there: Mapping, source: epath.PathLike):
    """`there`, placed on the devices of `here`; `here` itself if both have only shapes.

    Args:
      here: tree of arrays, or of `jax.ShapeDtypeStruct`.
      there: tree of NumPy arrays, or of something with their shapes.
      source: where they are from, for errors.

    Raises:
      UserError: the trees differ in names or shapes.
    """
    wanted, found = ({path_name(path): leaf for path, leaf in _leaves(tree)} for tree in (here, there))
    for name in sorted(wanted.keys() | found.keys()):
        shapes = [tree[name].shape if name in tree else "nothing" for tree in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{source} does not fit the model: {name}: found {shapes[0]}, the model has {shapes[1]}; "
                "use the config.model it was trained with"
            )
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(here)):
        return here
    return jax.tree.map(lambda old, new: jax.device_put(new.astype(old.dtype), old.sharding), here, there)


def _leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def _is_workdir(source: epath.Path) -> bool:
    if not source.exists():
        raise UserError(f"there is no {source}: name the workdir of a finished run, or an official checkpoint (.pth)")
    return source.is_dir()


def _read(workdir: epath.Path, prefixes: tuple[str, ...], shapes_only: bool) -> dict:
    """The arrays of the newest intact checkpoint whose paths begin with one of the prefixes, in their nested dicts."""
    folder = checkpoints.newest_of(workdir)
    chosen = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for path, leaf in _leaves(checkpoints.saved_tree(folder))
        if (name := path_name(path)).startswith(tuple(f"{prefix}/" for prefix in prefixes))
    }
    if not chosen:
        raise UserError(f"{folder} holds none of {', '.join(prefixes)}: it is a run of another kind")
    arrays = chosen if shapes_only else checkpoints.read_arrays(folder, chosen)
    return traverse_util.unflatten_dict(arrays, sep="/")
