"""Output of a run: progress lines, TensorBoard files, pictures, and its description in the workdir."""

import contextlib
import importlib.metadata
import json
import platform
import tempfile
import time

import jax
import numpy as np
from absl import logging
from etils import epath
from tensorboardX import SummaryWriter

from facejax import paths
from facejax.errors import UserError
from facejax.files import upload_folder, write_atomically, write_json
from facejax.pictures import write_png
from facejax.progress import INTERVAL, phase

PACKAGES = ("facejax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tensorflow-datasets")
# May differ when a run resumes, because it does not affect the result.
MAY_CHANGE = (
    "log_every_steps",
    "checkpoint",
    "evaluate_every_steps",
    "evaluations",
    "profile_steps",
    "synthetic_faces",
    "mesh",
    "sharding",
)
UPLOAD_SECONDS = 60  # between copies of TensorBoard's files to a URL
MAY_CHANGE_IN_DATA = ("num_workers", "skip_corrupt")
LEFT_BEHIND = ("evaluations", "pictures", "tensorboard")  # folders of a run that ended before its first checkpoint


def has_checkpoint(workdir) -> bool:
    """Whether a run has saved a complete checkpoint in the workdir, intact or damaged."""
    return any(path.name.isdigit() for path in (epath.Path(workdir) / "checkpoints").glob("*"))


def check_workdir(workdir, config) -> str:
    """Checks that a run of this config may use the workdir, without writing anything.

    Returns:
      How the config of an earlier run there, which left no checkpoint, differs from this one; empty if it does not.

    Raises:
      UserError: the workdir holds checkpoints of another or of an unknown config; its config.json is damaged or not of
        a run.
    """
    workdir = epath.Path(workdir)
    file, begun = workdir / "config.json", has_checkpoint(workdir)
    if not file.exists():
        if begun:
            raise UserError(f"{workdir} holds checkpoints but no config.json: choose another --workdir")
        return ""
    try:
        before = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file} is damaged ({error}): choose another --workdir, or put back the config of this run"
        ) from error
    if not isinstance(before, dict) or not isinstance(before.get("method"), str):
        raise UserError(f"{file} is not the config of a run of facejax: choose another --workdir")
    differing = sorted(_differences(before, _as_json(config)))
    differences = "; ".join(differing[:5]) + " ..." * (len(differing) > 5)
    if differing and begun:
        raise UserError(
            f"{workdir} holds another config's run: {differences}: choose another --workdir, or the config that is "
            "written in its config.json"
        )
    return differences


def claim_workdir(workdir, config) -> None:
    """Writes config and versions into the workdir; removes output of another config's run that left no checkpoint.

    Raises:
      UserError: see `check_workdir`.
    """
    workdir, differences = epath.Path(workdir), check_workdir(workdir, config)
    if jax.process_index() == 0:
        if differences:
            logging.info("%s held another config's run without a checkpoint (%s): replacing it", workdir, differences)
            for name in LEFT_BEHIND:
                if (workdir / name).exists():
                    (workdir / name).rmtree()
        write_json(workdir / "config.json", _as_json(config))
        versions = {name: _version(name) for name in PACKAGES}
        devices = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
        machine = {"python": platform.python_version(), "devices": {d: devices.count(d) for d in sorted(set(devices))}}
        write_json(workdir / "versions.json", machine | versions)


def _as_json(config):
    return json.loads(config.to_json_best_effort())


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _differences(old, new, prefix=""):
    for key in old.keys() | new.keys():
        if key in (MAY_CHANGE_IN_DATA if prefix == "data." else () if prefix else MAY_CHANGE):
            continue
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before!r}, is {after!r}"


class Reporter:
    """Writes the output of process 0; does nothing on the other processes.

    Objects in a bucket cannot grow, as TensorBoard's files do: for a workdir at a URL they are written to a local
    temporary folder and copied regularly.

    Args:
      workdir: folder of the run.
      first_step: step from which the run continues; TensorBoard's later entries are hidden.
    """

    def __init__(self, workdir, first_step: int):
        self._workdir = epath.Path(workdir)
        self._active = jax.process_index() == 0
        if self._active:
            self._local = tempfile.TemporaryDirectory() if paths.is_url(self._workdir) else None
            folder = self._local.name if self._local else self._workdir / "tensorboard"
            self._board = SummaryWriter(str(folder), purge_step=first_step, write_to_disk=True)
            self._uploaded = time.monotonic()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers to TensorBoard."""
        if self._active:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            if self._local and time.monotonic() - self._uploaded > UPLOAD_SECONDS:
                self._board.flush()
                self._upload()

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes an image, uint8 [H, W, 3], to TensorBoard and to `pictures/step_STEP_NAME.png`."""
        if self._active:
            self._board.add_image(name, image, step, dataformats="HWC")
            write_png(self._workdir / "pictures" / f"step_{step:08d}_{name}.png", image)

    def parameters(self, params) -> None:
        """Writes the table of the parameters to `parameters.txt`, and logs their number."""
        if self._active:
            write_atomically(self._workdir / "parameters.txt", parameter_table(params) + "\n")
            logging.info("%s parameters; see parameters.txt", f"{sum(p.size for p in jax.tree.leaves(params)):,}")

    def close(self) -> None:
        """Flushes TensorBoard's files."""
        if self._active:
            self._board.close()
            if self._local:
                self._upload()
                self._local.cleanup()

    def _upload(self):
        upload_folder(self._local.name, self._workdir / "tensorboard")
        self._uploaded = time.monotonic()


def parameter_table(params) -> str:
    """Plain text: path, shape, type and size of every parameter, aligned, and their number below.

    Args:
      params: pytree of objects with a shape, a dtype and a size.
    """
    rows = [("parameter", "shape", "type", "size")]
    total = 0
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        rows.append((name, "x".join(map(str, value.shape)), str(value.dtype), f"{value.size:,}"))
        total += value.size
    rows.append(("total", "", "", f"{total:,}"))
    name, shape, dtype, size = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(f"{a:{name}}  {b:{shape}}  {c:{dtype}}  {d:>{size}}" for a, b, c, d in rows)


class StepLog:
    """Logs a run's steps: numbers to TensorBoard, a line to the log; rates since the previous line.

    Args:
      reporter: the run's.
      steps: range from the number of steps already taken to the total.
      batch_size: images per step.
      every: steps from one line to the next; additional lines are logged after a long silence.
    """

    def __init__(self, reporter: Reporter, steps: range, batch_size: int, *, every: int):
        self._reporter, self._batch_size, self._every = reporter, batch_size, every
        self._begun, self._last = False, steps.stop
        self._step, self._time, self._waited = steps.start, time.perf_counter(), 0.0

    @contextlib.contextmanager
    def waiting_for_data(self):
        """Context in which a step waits for its batch; the first one is logged as a phase."""
        began = time.perf_counter()
        with contextlib.nullcontext() if self._begun else phase("Reading the first batch"):
            yield
        self._begun = True
        self._waited += time.perf_counter() - began

    @contextlib.contextmanager
    def paused(self):
        """Context that is excluded from the rates, such as an evaluation."""
        began = time.perf_counter()
        yield
        self._time += time.perf_counter() - began

    def step(self, step: int, metrics: dict[str, jax.Array], **counts: int) -> None:
        """Logs the step if it is due; waits for its metrics then."""
        due = step % self._every == 0 or step == self._last
        if due or time.perf_counter() - self._time > INTERVAL:
            numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
            rates = self._rates(step)
            if due:
                self._reporter.scalars(step, numbers | rates | counts)
            logging.info(progress_line(step, self._last, numbers["total"], rates))
            logging.debug(metrics_line(step, numbers | rates))

    def _rates(self, step: int) -> dict[str, float]:
        """Images per second, seconds per step, fraction of the time spent waiting for data, seconds left."""
        now = time.perf_counter()
        seconds, steps = max(now - self._time, 1e-9), max(step - self._step, 1)
        rates = {
            "images_per_second": steps * self._batch_size / seconds,
            "seconds_per_step": seconds / steps,
            "waiting_for_data": self._waited / seconds,
            "seconds_left": (self._last - step) * seconds / steps,
        }
        self._step, self._time, self._waited = step, now, 0.0
        return rates


def progress_line(step: int, total_steps: int, loss: float, rates: dict[str, float]) -> str:
    """`step 120/800 (15%)  loss 4.103  310 images/s  ETA 0:02:11`."""
    return (
        f"step {step}/{total_steps} ({100 * step // total_steps}%)  loss {loss:.4g}  "
        f"{rates['images_per_second']:.0f} images/s  ETA {duration(rates['seconds_left'])}"
    )


def metrics_line(step: int, metrics: dict[str, float]) -> str:
    """`step 120: base 4.103  instance 3.2  ...`, sorted by name."""
    return f"step {step}: " + "  ".join(f"{name} {metrics[name]:.4g}" for name in sorted(metrics))


def where_to_look(workdir) -> str:
    """Plain text: where to find the output of a run, and what to do next."""
    workdir = epath.Path(workdir)
    lines = [
        ("results", workdir / "results.json"),
        ("pictures", workdir / "pictures"),
        ("curves", f"tensorboard --logdir={workdir / 'tensorboard'}"),
        ("next", "look at the pictures of the last step; then train with another --config.KEY=VALUE in another"),
        ("", "--workdir, and compare the tables"),
    ]
    return "\n".join(f"{name:10}{where}" for name, where in lines)


def duration(seconds: float) -> str:
    """`1:02:03`, hours first; days where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d " * bool(days) + f"{hours}:{minutes:02d}:{seconds:02d}"


@contextlib.contextmanager
def profiling(steps, workdir):
    """Context that gives a function `profile(step)`, to be called before each step.

    Args:
      steps: (first, last), which are traced into `workdir/profile` for TensorBoard or Perfetto; empty: none.
      workdir: folder of the run.
    """
    target, running = epath.Path(workdir) / "profile", False
    with tempfile.TemporaryDirectory() if paths.is_url(target) else contextlib.nullcontext(target) as folder:

        def stop() -> None:
            nonlocal running
            jax.profiler.stop_trace()
            running = False
            if paths.is_url(target):  # the profiler writes to local disks only
                upload_folder(folder, target)

        def profile(step: int) -> None:
            nonlocal running
            if steps and not running and steps[0] <= step <= steps[1]:
                jax.profiler.start_trace(str(folder))
                running = True
            elif running and step > steps[1]:
                stop()

        try:
            yield profile
        finally:
            if running:
                stop()
