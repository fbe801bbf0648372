"""The training loop, from top to bottom: mesh, data, state, step, checkpoints, evaluations."""

import contextlib
import functools
import importlib.util
import signal
import sys
import time

import jax
import jax.numpy as jnp
from absl import logging
from etils import epath

from facejax import methods, paths, sharding
from facejax.checkpoints import Checkpoints
from facejax.config_schema.check import check
from facejax.data import embedded, few_shot, hierarchy, labels, pipeline, records
from facejax.errors import UserError
from facejax.evaluation import comparison, suite
from facejax.evaluator import Evaluator
from facejax.files import write_json
from facejax.finite_loss import FiniteLoss
from facejax.interruptions import stop_signals
from facejax.reporting import Progress, Reporter, claim_workdir, profiling, progress_line

INIT, STEPS = 0, 1  # what the two random streams of a run are for
# Data sets of the experiments whose converter has another name than their folder.
CONVERTERS = {"ms1mv3": "mxnet_records", "voxceleb1": "voxceleb", "webface4m": "mxnet_records"}


def train(config, workdir) -> dict:
    """Trains `config.method` until `config.epochs` are over, or goes on with what `workdir` holds.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.
      workdir: folder of the run, a local path or a URL. It gets config.json, versions.json, parameters.txt,
        checkpoints/, tensorboard/, pictures/, evaluations/ and, at the end, results.json.

    Returns:
      The content of results.json: the evaluations of the untrained and of the trained encoder side by side.

    Raises:
      UserError: anything that the user can mend: data, config, workdir or disk; a loss that is not finite.
      SystemExit: the run was asked to stop; it is saved, and the same call resumes it. The status is 128 + the signal.
    """
    workdir = paths.resolve(workdir, "--workdir")
    paths.check_holds_checkpoints(workdir, "--workdir")

    evaluations = check(config).evaluations

    # --- Mesh and data
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(config.batch_size, mesh)
    folders = {config.data.folder} | {evaluation.data for evaluation in evaluations.values()}
    embedded.render_if_missing(config.get("synthetic_faces"), needed=folders)
    source = open_training_split(config)
    splits = open_evaluation_splits(evaluations)
    evaluations = suite.without_unlabelled(evaluations, splits)
    order = training_order(config, source)
    steps_per_epoch, total_steps = order.steps_per_epoch, config.epochs * order.steps_per_epoch
    logging.info(
        "%d images, %d epochs of %d steps of %d images, on %d x %s",
        len(source), config.epochs, steps_per_epoch, config.batch_size, mesh.size, jax.devices()[0].device_kind,
    )  # fmt: skip

    # --- Method
    method = methods.create(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    batch = abstract_batch(config, method, source)
    check_labels(source, method.num_classes, skip_corrupt=config.data.skip_corrupt)
    claim_workdir(workdir, config)  # not before: a config that cannot work leaves nothing behind

    # --- State: that of the newest complete checkpoint, or a fresh one
    initial_state, abstract_state = prepare_state(config, method, mesh, batch)
    checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep, keep_period=config.checkpoint.keep_period)
    batches = training_batches(config, source, order, mesh, method.fields)
    first_step = checkpoints.newest or 0
    if first_step:
        state = checkpoints.restore(first_step, abstract_state, batches)
        logging.info("Going on from step %d, found in %s", first_step, checkpoints.folder)
    else:
        state = method.start_from(initial_state())
    step_function = compile_step(method, mesh, batch, abstract_state)

    # --- Evaluations: the untrained encoder first
    reporter = Reporter(workdir, first_step)
    reporter.parameters(state.params)
    drawn = next((splits[e.data, e.test_split] for e in evaluations.values()), source)  # labelled, if there are any
    evaluator = Evaluator(config, method, mesh, evaluations, splits, drawn, reporter, workdir)
    untrained = evaluator.kept(0)
    if untrained is None:
        untrained = evaluator.evaluate(0, method.start_from(initial_state()) if first_step else state)

    # --- Loop, and what it gained
    rng = jax.random.fold_in(jax.random.key(config.seed), STEPS)
    with contextlib.closing(reporter):
        state = take_steps(
            config, workdir, step_function, rng, state, batches, checkpoints, evaluator, reporter,
            steps=range(first_step + 1, total_steps + 1),
        )  # fmt: skip
        trained = evaluator.evaluate(total_steps, state)
    return write_results(config, workdir, total_steps, untrained, trained)


def take_steps(config, workdir, step_function, rng, state, batches, checkpoints, evaluator, reporter, *, steps: range):
    """The loop: steps, what is told of them, checkpoints, evaluations on the way.

    Args:
      config: the experiment's.
      workdir: gets the profile.
      step_function: `(state, batch, rng) -> (state, metrics)`.
      rng: random key, the same for all steps.
      state: after the step before the first.
      batches: a `pipeline.DevicePrefetch`.
      checkpoints: where the state goes; closed at the end.
      evaluator: asked every `config.evaluate_every_steps`.
      reporter: told every `config.log_every_steps`.
      steps: numbers of those to take.

    Returns:
      The state after the last step.

    Raises:
      UserError: a loss that is not finite; a full disk; a damaged record.
      SystemExit: the run was asked to stop; it is saved.
    """
    total_steps = steps.stop - 1
    progress = Progress(steps.start - 1, total_steps, config.batch_size)
    finite = FiniteLoss(checkpoints)
    with (
        contextlib.closing(batches),  # a thread that is left putting them on the device crashes the end of the process
        stop_signals() as stopped,
        profiling(config.profile_steps, workdir) as profile,
    ):
        for step in steps:
            profile(step)
            began = time.perf_counter()
            batch = next(batches)
            progress.waited(time.perf_counter() - began)
            state, metrics = step_function(state, batch, rng)
            finite.check_previous(step, metrics["total"])
            last = step == total_steps
            if step % config.log_every_steps == 0 or last:
                numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
                rates = progress.rates(step)
                reporter.scalars(step, numbers | rates | {"skipped_records": batches.num_skipped})
                logging.info(progress_line(step, total_steps, numbers, rates))
            preempted = checkpoints.reached_preemption(step)
            leaving = stopped() or (signal.SIGTERM if preempted else 0)
            if step % config.checkpoint.every_steps == 0 or last or leaving:
                finite.check_now()
                checkpoints.save(step, state, batches)
            if leaving:
                checkpoints.close()
                logging.info("Asked to stop: step %d is saved; the same command resumes from there.", step)
                sys.exit(128 + leaving)
            if config.evaluate_every_steps and step % config.evaluate_every_steps == 0 and not last:
                began = time.perf_counter()
                evaluator.evaluate(step, state)
                progress.resume(time.perf_counter() - began)
    checkpoints.close()
    return state


def converter_hint(folder) -> str:
    """What to run when the records of a data set are not there."""
    name = epath.Path(folder).name
    converter = CONVERTERS.get(name, name)
    if not converter.isidentifier() or importlib.util.find_spec(f"data_prep.{converter}") is None:
        return "docs/data_sets.md tells how data sets are converted"
    return f"convert it first: python -m data_prep.{converter} --source=DIR --out={folder}"


def open_training_split(config) -> records.RecordSource:
    """The records that `config.data` names; of a recognition method, the few that it names of them.

    Raises:
      UserError: they are not there, or damaged.
    """
    data = config.data
    folder = paths.resolve(data.folder, "config.data.folder")
    source = records.open_split(folder, data.split, hint=converter_hint(data.folder), skip_corrupt=data.skip_corrupt)
    if data.get("images_per_class", 0) or data.get("class_share", 1.0) < 1:
        return few_shot.subset(
            source,
            data.label,
            images_per_class=data.images_per_class,
            class_share=data.class_share,
            seed=config.seed,
            skip_corrupt=data.skip_corrupt,
        )
    return source


def open_evaluation_splits(evaluations) -> dict[tuple[str, str], records.RecordSource]:
    """(folder, split) -> records, of all that are evaluated on: what is missing is told now, not after hours."""
    names = {(evaluation.data, split) for evaluation in evaluations.values() for split in evaluation.splits()}
    return {(folder, split): records.open_split(folder, split, hint=converter_hint(folder)) for folder, split in names}


def check_labels(source, num_classes, *, skip_corrupt: bool) -> None:
    """Compares the labels of the training split with the classes of the method.

    Args:
      source: the training split.
      num_classes: a method's: field -> number of classes.
      skip_corrupt: pass over records that cannot be read.

    Raises:
      UserError: a label is no class.
    """
    for field, count in num_classes.items():
        if isinstance(source, few_shot.Subset):
            lowest, highest = 0, source.num_classes - 1
        else:
            _, (column,) = labels.read(source, (field,), key="config.data.label", skip_corrupt=skip_corrupt)
            lowest, highest = int(column.min()), int(column.max())
        told = f"config.classifier.num_classes = {count} does not fit the labels '{field}' of {source}"
        if lowest < 0:
            raise UserError(f"{told}: they begin at {lowest}, and must count from 0; convert the data again")
        if highest >= count:
            raise UserError(f"{told}: they are 0 to {highest}; set it to {highest + 1}")
        if highest + 1 < count:
            logging.warning("%s: they are 0 to %d, the other classes have no images", told, highest)


def training_order(config, source) -> pipeline.GlobalShuffle | hierarchy.ItemOrder:
    """Which record stands where in the run: a global shuffle, or items drawn for each of a method's updates.

    Raises:
      UserError: there are fewer records than a batch takes.
    """
    if "batches" not in config:
        least = config.get("min_steps_per_epoch", 0)
        return pipeline.GlobalShuffle(source, config.batch_size, config.seed, min_steps_per_epoch=least)
    items = hierarchy.Hierarchy.read(source, config.data.hierarchy, skip_corrupt=config.data.skip_corrupt)
    streams = tuple(config.batches.values())
    return hierarchy.ItemOrder(items, streams=streams, batch_size=config.batch_size, seed=config.seed)


def abstract_batch(config, method, source) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a global batch.

    Raises:
      UserError: the records lack a field of the method's.
    """
    shapes = pipeline.batch_shapes(source, config.batch_size, config.data.image_size, method.fields)
    canonical = jax.dtypes.canonicalize_dtype  # labels are int64 on disk, int32 on devices
    return {name: jax.ShapeDtypeStruct(shape, canonical(dtype)) for name, (shape, dtype) in shapes.items()}


def prepare_state(config, method, mesh, batch):
    """The train state on the mesh, before there is one.

    Returns:
      A function that makes the initial state, each array born where it belongs; the state's shapes, types and
      shardings.
    """
    abstract_state = jax.eval_shape(method.init, jax.eval_shape(lambda: jax.random.key(0)), batch)
    shardings = sharding.state_shardings(mesh, abstract_state, config.sharding)
    rng = jax.random.fold_in(jax.random.key(config.seed), INIT)
    zeros = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), batch)
    initial_state = functools.partial(jax.jit(lambda key: method.init(key, zeros()), out_shardings=shardings), rng)
    placed = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract_state, shardings)
    return initial_state, placed


def compile_step(method, mesh, batch, abstract_state):
    """The train step `(state, batch, rng) -> (state, metrics)`, compiled; it consumes the state it is given."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    step = jax.jit(
        method.train_step, in_shardings=(shardings, split, whole), out_shardings=(shardings, whole), donate_argnums=0
    )
    began = time.perf_counter()
    logging.info("Compiling the train step ...")
    with jax.set_mesh(mesh):  # methods that place what they make themselves ask for it
        compiled = step.lower(abstract_state, batch, jax.eval_shape(lambda: jax.random.key(0))).compile()
    logging.info("Compiled in %.1f s", time.perf_counter() - began)
    return compiled


def training_batches(config, source, order, mesh, fields) -> pipeline.DevicePrefetch:
    """Batches on the mesh; its state is what the run has consumed."""
    loader = pipeline.training_loader(
        source,
        batch_size=config.batch_size // jax.process_count(),
        image_size=config.data.image_size,
        seed=config.seed,
        num_workers=config.data.num_workers,
        skip_corrupt=config.data.skip_corrupt,
        fields=fields,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
        order=order,
    )
    return pipeline.DevicePrefetch(loader, sharding.batch_sharding(mesh))


def write_results(config, workdir, steps: int, untrained, trained) -> dict:
    """Writes results.json and prints the table, on process 0; returns what the file holds."""
    rows = comparison.compare(untrained, trained)
    results = {
        "method": config.method,
        "steps": steps,
        "untrained": untrained,
        "trained": trained,
        "comparison": [row._asdict() for row in rows],
    }
    if jax.process_index() == 0:
        write_json(workdir / "results.json", results)
        print(comparison.format_table(rows), flush=True)
    return results
