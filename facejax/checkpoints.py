"""Checkpoints: train state and data position together, written asynchronously, complete or not there at all."""

import grain
import jax
import orbax.checkpoint as ocp
from etils import epath

from facejax.errors import UserError
from facejax.files import named_write_errors
from facejax.sharding import path_name


class Checkpoints:
    """The checkpoints of one run, in `workdir/checkpoints/STEP`.

    A checkpoint is written under a temporary name and renamed when it is whole: one that was cut off does not count.

    Args:
      workdir: folder of the run.
      keep: how many of the newest checkpoints stay.
      keep_period: checkpoints at multiples of this step stay for good; 0 for none.
    """

    def __init__(self, workdir, *, keep: int = 3, keep_period: int = 0):
        self.folder = epath.Path(workdir) / "checkpoints"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_period or None,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "position": grain.checkpoint.CheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    @property
    def newest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state, position) -> None:
        """Starts to save; returns as soon as the state may be changed again.

        Args:
          step: the number of steps that were taken.
          state: the train state.
          position: a grain iterator, or what has its `get_state`: where in the data the run is.
        """
        with named_write_errors(self.folder):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), position=grain.checkpoint.CheckpointSave(position)
                ),
            )

    def restore(self, step: int, abstract_state, position):
        """The state saved at `step`, in the shapes, types and shardings of `abstract_state`; moves `position` to it.

        Raises:
          UserError: the checkpoint holds other arrays than `abstract_state` asks for.
        """
        check_fits(self.saved_shapes(step), abstract_state, self.folder / str(step))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state), position=grain.checkpoint.CheckpointRestore(position)
            ),
        )
        return restored.state

    def saved_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Path -> shape of every array of the train state saved at `step`."""
        return _shapes(self._manager.item_metadata(step).state)

    def wait(self) -> None:
        """Returns when everything that was started is on disk."""
        with named_write_errors(self.folder):
            self._manager.wait_until_finished()

    def reached_preemption(self, step: int) -> bool:
        """Whether the cluster is about to take the machine away, agreed among all processes."""
        return self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits and lets go of the folder."""
        with named_write_errors(self.folder):
            self._manager.close()


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
