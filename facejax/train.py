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

from facejax import methods, paths, reporting, sharding, workdir_lock
from facejax.checkpoints import Checkpoints
from facejax.config_schema.check import check
from facejax.data import embedded, few_shot, hierarchy, labels, pipeline, records
from facejax.errors import UserError
from facejax.evaluation import comparison, suite
from facejax.evaluator import Evaluator
from facejax.files import write_json
from facejax.finite_loss import FiniteLoss
from facejax.interruptions import stop_signals
from facejax.progress import INTERVAL, phase
from facejax.reporting import (
    Progress,
    Reporter,
    check_workdir,
    claim_workdir,
    has_checkpoint,
    metrics_line,
    profiling,
    progress_line,
)

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

    # --- What can be wrong is found before anything is rendered, initialised or compiled
    evaluations = check(config).evaluations
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(config.batch_size, mesh)
    check_workdir(workdir, config)
    method = methods.create(config, steps_per_epoch=1, total_steps=config.epochs)  # what it needs has no schedule
    if not has_checkpoint(workdir):
        method.check_start()

    # --- Data
    splits, source, order = prepare_data(config, evaluations, method)
    evaluations = suite.without_unlabelled(evaluations, splits)
    steps_per_epoch, total_steps = order.steps_per_epoch, config.epochs * order.steps_per_epoch
    logging.info(
        "%d images, %d epochs of %d steps of %d images, on %d x %s",
        len(source), config.epochs, steps_per_epoch, config.batch_size, mesh.size, jax.devices()[0].device_kind,
    )  # fmt: skip

    # --- Method
    method = methods.create(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    batch = abstract_batch(config, method, source)
    with workdir_lock.held(workdir) as check_lock:  # not before: a config that cannot work leaves nothing behind
        claim_workdir(workdir, config)

        # --- State: that of the newest complete checkpoint, or a fresh one
        initial_state, abstract_state = prepare_state(config, method, mesh, batch)
        settings = config.checkpoint
        checkpoints = Checkpoints(workdir, keep=settings.keep, keep_period=settings.keep_period, before_save=check_lock)
        batches = training_batches(config, source, order, mesh, method.fields)
        first_step = checkpoints.newest or 0
        if first_step:
            with phase(f"Restoring step {first_step} from {checkpoints.folder}"):
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
            with phase("Reading the first batch") if step == steps.start else contextlib.nullcontext():
                batch = next(batches)
            progress.waited(time.perf_counter() - began)
            state, metrics = step_function(state, batch, rng)
            finite.check_previous(step, metrics["total"])
            last = step == total_steps
            due = step % config.log_every_steps == 0 or last
            if due or progress.silent_for(INTERVAL):
                numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
                rates = progress.rates(step)
                if due:
                    reporter.scalars(step, numbers | rates | {"skipped_records": batches.num_skipped})
                logging.info(progress_line(step, total_steps, numbers["total"], rates))
                logging.debug(metrics_line(step, numbers | rates))
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
    with phase("Finishing the last checkpoint"):
        checkpoints.close()
    return state


def converter_hint(folder) -> str:
    """What to run when the records of a data set are not there."""
    name = epath.Path(folder).name
    converter = CONVERTERS.get(name, name)
    if not converter.isidentifier() or importlib.util.find_spec(f"data_prep.{converter}") is None:
        return "docs/data_sets.md tells how data sets are converted"
    return f"convert it first: python -m data_prep.{converter} --source=DIR --out={folder}"


def prepare_data(config, evaluations, method):
    """Opens all that a run reads, and renders the synthetic faces of it that are not there.

    Nothing is rendered before all else is there and what will be rendered is known to suit the config.

    Args:
      config: the experiment's.
      evaluations: by name.
      method: for the fields that it reads and the classes that it was built for.

    Returns:
      (folder, split) -> records; the training records among them, as `config.data` chooses them; their order.

    Raises:
      UserError: records are not there, too few, damaged, or lack a field; labels are no classes of the method.
    """
    training = (config.data.folder, config.data.split)
    places = {training: "config.data.folder"}
    for name, evaluation in evaluations.items():
        for split in evaluation.splits():
            places.setdefault((evaluation.data, split), f"config.evaluations.{name}.data")
    faces = config.get("synthetic_faces")
    planned = embedded.planned(faces, places)
    splits = open_splits(config, {place: key for place, key in places.items() if place not in planned}) | planned
    check_fields(evaluations, splits)
    if training not in planned or planned[training].has_labels(label_fields(config)):
        source, order = training_records(config, splits[training], method)
    embedded.render_if_missing(faces, needed={folder for folder, _ in places})
    splits |= open_splits(config, {place: places[place] for place in planned})
    if training in planned:
        source, order = training_records(config, splits[training], method)
    return splits, source, order


def open_splits(config, places) -> dict[tuple[str, str], records.RecordSource]:
    """(folder, split) -> records.

    Args:
      config: the experiment's.
      places: (folder, split) -> key of the config that names the folder.

    Raises:
      UserError: they are not there, or damaged.
    """
    skip = config.data.skip_corrupt
    return {
        (folder, split): records.open_split(
            paths.resolve(folder, key), split, hint=converter_hint(folder), skip_corrupt=skip
        )
        for (folder, split), key in places.items()
    }


def check_fields(evaluations, splits) -> None:
    """Raises `UserError` for a field that an evaluation needs and the records lack."""
    for name, evaluation in evaluations.items():
        for split, fields in evaluation.splits().items():
            there = splits[evaluation.data, split]
            missing = sorted(fields - there.features.keys())
            if missing and not (evaluation.optional and evaluation.label in missing):
                raise UserError(
                    f"config.evaluations.{name}: {there} has no field '{missing[0]}'; it has: "
                    f"{', '.join(sorted(there.features))}"
                )


def label_fields(config) -> set[str]:
    """The fields of the training records by which they are chosen, grouped or classified."""
    label = config.data.get("label")
    return {*config.data.get("hierarchy", ()), *([label] if label else [])}


def training_records(config, source, method):
    """The training records, as `config.data` chooses them, and their order.

    Args:
      config: the experiment's.
      source: all records of the training split.
      method: for the fields that it reads and the classes that it was built for.

    Raises:
      UserError: they lack a field, are too few for a batch, or have labels that are no classes of the method.
    """
    abstract_batch(config, method, source)
    source = chosen_records(config, source)
    check_labels(source, method.num_classes, skip_corrupt=config.data.skip_corrupt)
    return source, training_order(config, source)


def chosen_records(config, source) -> records.RecordSource | few_shot.Subset:
    """The records of a split that `config.data` asks for: all, or some classes and some images of each.

    Raises:
      UserError: the records lack the field that tells the classes, or none would be left.
    """
    data = config.data
    if data.get("images_per_class", 0) or data.get("class_share", 1.0) < 1:
        return few_shot.subset(
            source,
            data.label,
            images_per_class=data.images_per_class,
            class_share=data.class_share,
            class_choice=data.class_choice,
            seed=config.seed,
            skip_corrupt=data.skip_corrupt,
        )
    return few_shot.select(source, data.fraction, seed=config.seed) if data.get("fraction", 1.0) < 1 else source


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
    with phase("Tracing the model"):
        abstract_state = jax.eval_shape(method.init, jax.eval_shape(lambda: jax.random.key(0)), batch)
    shardings = sharding.state_shardings(mesh, abstract_state, config.sharding)
    rng = jax.random.fold_in(jax.random.key(config.seed), INIT)
    zeros = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), batch)
    initialize = jax.jit(lambda key: method.init(key, zeros()), out_shardings=shardings)

    def initial_state():
        with phase("Initialising the model"):
            return jax.block_until_ready(initialize(rng))

    placed = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract_state, shardings)
    return initial_state, placed


def compile_step(method, mesh, batch, abstract_state):
    """The train step `(state, batch, rng) -> (state, metrics)`, compiled; it consumes the state it is given."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    step = jax.jit(
        method.train_step, in_shardings=(shardings, split, whole), out_shardings=(shardings, whole), donate_argnums=0
    )
    with jax.set_mesh(mesh):  # methods that place what they make themselves ask for it
        with phase("Tracing the train step"):
            lowered = step.lower(abstract_state, batch, jax.eval_shape(lambda: jax.random.key(0)))
        with phase("Compiling the train step"):
            return lowered.compile()


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
        print(comparison.format_table(rows), reporting.where_to_look(workdir), sep="\n\n", flush=True)
    return results
