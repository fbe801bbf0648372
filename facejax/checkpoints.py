"""Checkpoints: train state and data position together, written asynchronously, verified before they are read."""

import contextlib
import itertools
import re
from collections.abc import Collection

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from flax import traverse_util

from facejax import manifest, paths
from facejax.errors import UserError
from facejax.files import named_write_errors
from facejax.processes import decided_by_first
from facejax.progress import phase
from facejax.sharding import path_name


class Checkpoints:
    """The checkpoints of one run, in `workdir/checkpoints/STEP`.

    A checkpoint is written under a temporary name, gets a manifest with the checksums of its files, and is renamed, so
    an incomplete one is ignored. When a run opens its checkpoints, the newest one is compared with its manifest. If it
    is damaged, it is renamed to `STEP.damaged`, and the previous one is checked.

    Args:
      workdir: folder of the run.
      keep: number of newest checkpoints to keep.
      keep_period: checkpoints at multiples of this step are never deleted; 0: none.
      before_save: called before anything is written; raises to prevent it.

    Raises:
      UserError: there are checkpoints, but none is intact; or the folder cannot be written.
    """

    def __init__(self, workdir, *, keep: int = 3, keep_period: int = 0, before_save=lambda: None):
        self.folder = epath.Path(workdir) / "checkpoints"
        self._before_save = before_save
        self._saving = 0
        decided_by_first(self._set_damaged_aside)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_period or None,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_manifest),
            lightweight_initialize=True,  # orbax would otherwise read more of every checkpoint
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "position": ocp.JsonCheckpointHandler()}
        with named_write_errors(self.folder):
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def _set_damaged_aside(self) -> None:
        """Renames checkpoints newer than the newest intact one, so the run can save these steps again."""
        whole, damages = newest_whole(self.folder)
        for step, damage in damages.items():
            path, taken = self.folder / str(step), {path.name for path in self.folder.iterdir()}
            names = itertools.chain([f"{step}.damaged"], (f"{step}.damaged-{count}" for count in itertools.count(2)))
            aside = next(name for name in names if name not in taken)
            with named_write_errors(path):
                path.rename(path.with_name(aside))
            logging.warning(
                "%s is damaged (%s): renamed to %s; the newest intact checkpoint is that of step %d",
                path, damage, aside, whole,
            )  # fmt: skip

    def _write_manifest(self) -> None:
        """On process 0, in the thread that writes: the files are complete, but orbax has not renamed their folder."""
        folder = self.folder / f"{self._saving}{ocp.utils.TMP_DIR_SUFFIX}"
        if not folder.exists():  # on gs:// a checkpoint has its final name at once, and a marker when complete
            folder = self.folder / str(self._saving)
        manifest.write(folder)

    @property
    def newest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state, position) -> None:
        """Starts to save; returns as soon as the state may change.

        Args:
          step: number of steps taken.
          state: the train state.
          position: the position in the data: an object with the `get_state` of a grain iterator, the same on all
            processes.
        """
        with named_write_errors(self.folder):
            self._before_save()
            self._manager.wait_until_finished()  # the previous save still needs its own step
            self._saving = step
            self._manager.save(
                step,
                # grain's own handler writes one file per process, which another number of processes does not find.
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position.get_state())
                ),
            )

    def restore(self, step: int, abstract_state, position):
        """The state saved at `step`, with shapes, types and shardings of `abstract_state`; also restores `position`.

        Raises:
          UserError: the checkpoint holds other arrays than `abstract_state`.
        """
        folder = self.folder / str(step)
        check_fits(_shapes(saved_tree(folder)), abstract_state, folder)
        with readable(folder):
            state = read_item(
                folder, "state", ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(abstract_state)
            )
            saved_position = read_item(folder, "position", ocp.JsonCheckpointHandler(), ocp.args.JsonRestore())
        position.set_state(saved_position)
        return state

    def wait(self) -> None:
        """Returns when everything is on disk."""
        with named_write_errors(self.folder):
            self._manager.wait_until_finished()

    def reached_preemption(self, step: int) -> bool:
        """Whether the cluster is about to take the machine away, agreed among all processes."""
        return self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits, then releases the folder."""
        with named_write_errors(self.folder):
            self._manager.close()


def newest_whole(folder) -> tuple[int | None, dict[int, str]]:
    """The newest checkpoint that matches its manifest.

    Args:
      folder: of a run's checkpoints; need not exist.

    Returns:
      Its step, or None if there are no checkpoints; and for each newer, damaged one, what is wrong with it.

    Raises:
      UserError: there are checkpoints, but none is intact.
    """
    folder, damages = epath.Path(folder), {}
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, but must be the folder of the checkpoints: move it away")
    for step in sorted(_steps(folder), reverse=True):
        with phase(f"Verifying checkpoint {step} in {folder}"):
            damage = manifest.find_damage(folder / str(step))
        if damage is None:
            return step, damages
        damages[step] = damage
    if damages:
        raise UserError(
            f"no checkpoint in {folder} is intact: {'; '.join(f'{step}: {what}' for step, what in damages.items())}: "
            "restore one from a backup, or choose another --workdir"
        )
    return None, {}


def _steps(folder):
    for path in folder.iterdir() if folder.exists() else ():
        if re.fullmatch("0|[1-9][0-9]*", path.name) and not _is_unfinished(path):
            yield int(path.name)


def _is_unfinished(path) -> bool:
    """Whether orbax was interrupted while writing a checkpoint under its final name; orbax removes it itself."""
    return ocp.utils.is_gcs_path(path) and not (path / ocp.path.atomicity.COMMIT_SUCCESS_FILE).exists()


def saved_tree(checkpoint):
    """Shapes and types of the arrays of a saved train state, as a tree, without reading the arrays.

    Args:
      checkpoint: folder of an intact checkpoint.
    """
    with readable(checkpoint):
        return ocp.PyTreeCheckpointHandler().metadata(epath.Path(checkpoint) / "state").tree


def newest_of(workdir) -> epath.Path:
    """Folder of the newest intact checkpoint of a run that may still be active; changes nothing there.

    Raises:
      UserError: there is none.
    """
    workdir = epath.Path(workdir)
    paths.check_holds_checkpoints(workdir)
    folder = workdir / "checkpoints"
    step, damages = newest_whole(folder)
    for damaged, damage in damages.items():
        logging.warning("%s is damaged (%s): reading step %d instead", folder / str(damaged), damage, step)
    if step is None:
        raise UserError(f"{workdir} has no complete checkpoint: train it first, or name another workdir")
    return folder / str(step)


def saved_names(checkpoint) -> dict:
    """The tree of a saved train state with the name of each array, such as `params/head/kernel`, as its leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path_name(path), saved_tree(checkpoint))


def read_arrays(checkpoint, names: Collection[str]) -> dict[str, np.ndarray]:
    """The named arrays of an intact checkpoint; the others are not read."""
    chosen = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for path, leaf in jax.tree_util.tree_leaves_with_path(saved_tree(checkpoint))
        if (name := path_name(path)) in names
    }
    nested = traverse_util.unflatten_dict(chosen, sep="/")
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), nested)
    args = ocp.args.PyTreeRestore(item=nested, restore_args=arguments, partial_restore=True)
    with readable(checkpoint):
        found = read_item(checkpoint, "state", ocp.PyTreeCheckpointHandler(), args)
    return traverse_util.flatten_dict(found, sep="/")


def read_item(checkpoint, item: str, handler, args):
    """Reads one item of a checkpoint, "state" or "position", with the given handler and arguments.

    Items are read one by one, because orbax would read more of the files next to them than facejax needs.
    """
    with ocp.Checkpointer(handler) as checkpointer:
        return checkpointer.restore(epath.Path(checkpoint) / item, args=args)


@contextlib.contextmanager
def readable(checkpoint):
    """Context that turns an error of orbax into a UserError that names the checkpoint."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{checkpoint} is intact, but orbax-checkpoint {ocp.__version__} cannot read it "
            f"({reason}): remove files that do not belong there, or install the version that wrote it"
        ) from error


def check_fits(saved: dict[str, tuple[int, ...]], abstract_state, where) -> None:
    """Raises UserError naming the first array in which a checkpoint and a train state differ."""
    wanted = _shapes(abstract_state)
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            said = [f"has {shapes[name]}" if name in shapes else "lacks it" for shapes in (saved, wanted)]
            raise UserError(
                f"{where}: the checkpoint does not fit the model: {name}: the checkpoint {said[0]}, the model "
                f"{said[1]}; use the config that wrote it, or another --workdir"
            )


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): tuple(leaf.shape) for path, leaf in leaves}
