"""The training loop, from top to bottom: mesh, data, state, step, checkpoints, evaluations."""

import functools
import json
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from facejax import methods, sharding
from facejax.checkpoints import Checkpoints
from facejax.data import embedded, few_shot, hierarchy, images, pipeline, records
from facejax.evaluation import comparison, disentanglement, suite
from facejax.files import write_json
from facejax.interruptions import FiniteLoss, stop_signals
from facejax.pictures import sheet
from facejax.reporting import Progress, Reporter, claim_workdir, profiling, progress_line

INIT, STEPS = 0, 1  # what the two random streams of a run are for
DRAWN = 8  # faces in a picture


def train(config, workdir) -> dict:
    """Trains `config.method` until `config.epochs` are over, or goes on with what `workdir` holds.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.
      workdir: folder of the run. It gets config.json, versions.json, parameters.txt, checkpoints/, tensorboard/,
        pictures/, evaluations/ and, at the end, results.json.

    Returns:
      The content of results.json: the evaluations of the untrained and of the trained encoder side by side.

    Raises:
      UserError: anything that the user can mend: data, config, workdir or disk; a loss that is not finite.
      SystemExit: the run was asked to stop; it is saved, and the same call goes on with it.
    """
    workdir = epath.Path(workdir).expanduser().resolve()

    # --- Mesh and data
    mesh = sharding.make_mesh(config.mesh)
    sharding.check_batch_size(config.batch_size, mesh)
    evaluations = suite.parse(config.evaluations)
    folders = {config.data.folder} | {evaluation.data for evaluation in evaluations.values()}
    embedded.render_if_missing(config.synthetic_faces, needed=folders)
    source = open_training_split(config)
    for evaluation in evaluations.values():  # what is missing is told now, not after hours
        for split in evaluation.splits():
            records.open_split(evaluation.data, split, hint=converter_hint(evaluation.data))
    order = training_order(config, source)
    steps_per_epoch, total_steps = order.steps_per_epoch, config.epochs * order.steps_per_epoch
    logging.info(
        "%d images, %d epochs of %d steps of %d images, on %d x %s",
        len(source), config.epochs, steps_per_epoch, config.batch_size, mesh.size, jax.devices()[0].device_kind,
    )  # fmt: skip

    # --- State and step
    method = methods.create(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    claim_workdir(workdir, config)  # not before: a config that cannot work leaves nothing behind
    step_function, initial_state, abstract_state = compile_step(config, method, mesh, source)
    rng = jax.random.fold_in(jax.random.key(config.seed), STEPS)

    # --- Checkpoints: go on where the newest complete one stands
    checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep, keep_period=config.checkpoint.keep_period)
    batches = training_batches(config, source, order, mesh, method.fields)
    first_step = checkpoints.newest or 0
    if first_step:
        state = checkpoints.restore(first_step, abstract_state, batches)
        logging.info("Going on from step %d, found in %s", first_step, checkpoints.folder)
    else:
        state = method.start_from(initial_state())
    reporter = Reporter(workdir, first_step)
    reporter.parameters(state.params)

    # --- Evaluations: the untrained encoder first
    evaluate = functools.partial(evaluate_step, config, method, mesh, evaluations, reporter, workdir)
    untrained = evaluate(0, state if not first_step else method.start_from(initial_state()))

    # --- Loop
    progress = Progress(first_step, total_steps, config.batch_size)
    finite = FiniteLoss(checkpoints)
    with stop_signals() as stopped, profiling(config.profile_steps, workdir) as profile:
        for step in range(first_step + 1, total_steps + 1):
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
            leaving = stopped() or checkpoints.reached_preemption(step)
            if step % config.checkpoint.every_steps == 0 or last or leaving:
                finite.check_now()
                checkpoints.save(step, state, batches)
            if leaving and not last:
                checkpoints.close()
                logging.info("Asked to stop: step %d is saved; the same command goes on from there.", step)
                sys.exit(128 + signal.SIGTERM)
            if config.evaluate_every_steps and step % config.evaluate_every_steps == 0 and not last:
                began = time.perf_counter()
                evaluate(step, state)
                progress.resume(time.perf_counter() - began)

    # --- The end: what did it gain?
    checkpoints.close()
    trained = evaluate(total_steps, state)
    reporter.close()
    rows = comparison.compare(untrained, trained)
    results = {
        "method": config.method,
        "steps": total_steps,
        "untrained": untrained,
        "trained": trained,
        "comparison": [row._asdict() for row in rows],
    }
    if jax.process_index() == 0:
        write_json(workdir / "results.json", results)
        print(comparison.format_table(rows), flush=True)
    return results


def converter_hint(folder) -> str:
    """What to run when the records of a data set are not there."""
    name = epath.Path(folder).name
    return f"convert it first: python -m data_prep.{name} --source=DIR --out={folder}"


def open_training_split(config) -> records.RecordSource:
    """The records that `config.data` names; of a recognition method, the few that it names of them.

    Raises:
      UserError: they are not there, or damaged.
    """
    data = config.data
    source = records.open_split(
        data.folder, data.split, hint=converter_hint(data.folder), skip_corrupt=data.skip_corrupt
    )
    if data.get("images_per_class", 0) or data.get("class_share", 1.0) < 1:
        return few_shot.subset(
            source,
            data.label,
            images_per_class=data.images_per_class,
            class_share=data.class_share,
            seed=config.seed,
        )
    return source


def training_order(config, source) -> pipeline.GlobalShuffle | hierarchy.ItemOrder:
    """Which record stands where in the run: a global shuffle, or items drawn for each of a method's updates.

    Raises:
      UserError: there are fewer records than a batch takes.
    """
    if "batches" not in config:
        return pipeline.GlobalShuffle(source, config.batch_size, config.seed)
    items = hierarchy.Hierarchy.read(source, config.data.hierarchy, skip_corrupt=config.data.skip_corrupt)
    streams = tuple(config.batches.values())
    return hierarchy.ItemOrder(items, streams=streams, batch_size=config.batch_size, seed=config.seed)


def compile_step(config, method, mesh, source):
    """The train step, compiled for the mesh.

    Returns:
      The compiled step `(state, batch, rng) -> (state, metrics)`, which consumes the state it is given; a function
      that makes the initial state, each array born where it belongs; the state's shapes, types and shardings.
    """
    shapes = pipeline.batch_shapes(source, config.batch_size, config.data.image_size, method.fields)
    batch = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}
    rng = jax.eval_shape(lambda: jax.random.key(0))
    abstract_state = jax.eval_shape(method.init, rng, batch)
    shardings = sharding.state_shardings(mesh, abstract_state, config.sharding)
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)

    init_rng = jax.random.fold_in(jax.random.key(config.seed), INIT)
    zeros = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), batch)
    initial_state = functools.partial(jax.jit(lambda key: method.init(key, zeros()), out_shardings=shardings), init_rng)

    step = jax.jit(
        method.train_step, in_shardings=(shardings, split, whole), out_shardings=(shardings, whole), donate_argnums=0
    )
    began = time.perf_counter()
    logging.info("Compiling the train step ...")
    with jax.set_mesh(mesh):  # methods that place what they make themselves ask for it
        compiled = step.lower(abstract_state, batch, rng).compile()
    logging.info("Compiled in %.1f s", time.perf_counter() - began)
    placed = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract_state, shardings)
    return compiled, initial_state, placed


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


def evaluate_step(config, method, mesh, evaluations, reporter, workdir, step, state) -> dict[str, float]:
    """Metrics and pictures of the encoder at `step`; made once, then found in `workdir/evaluations`."""
    file = workdir / "evaluations" / f"step_{step:08d}.json"
    if file.exists():
        return json.loads(file.read_text())
    began = time.perf_counter()
    whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    encode = jax.jit(method.encode, out_shardings=whole)

    def on_mesh(images, placement):
        return jax.make_array_from_callback(images.shape, placement, lambda part: images[part])

    def batches(folder, split_name, fields):
        source = records.open_split(folder, split_name)
        return pipeline.evaluation_batches(
            source, batch_size=config.batch_size, image_size=config.image_size, fields=("image", *fields)
        )

    variables = method.evaluated(state)
    metrics = suite.evaluate(lambda images: encode(variables, on_mesh(images, split)), evaluations, batches)
    metrics |= disentanglement.advantages(metrics)
    reporter.scalars(step, metrics)

    faces = faces_to_draw(config, evaluations)
    drawn = jax.jit(method.pictures, out_shardings=whole)(variables, on_mesh(faces, whole))
    overlays = {"images": faces}
    for name, drawings in drawn.items():
        drawings = np.asarray(drawings)
        if drawings.shape[1] == drawings.shape[2]:
            overlays[name] = drawings
        else:  # a strip of images for each face: one below the other
            reporter.picture(step, f"{config.method}_{name}", sheet(drawings[:, None]))
    if len(overlays) > 1:
        captions = [[name] * len(faces) for name in overlays]
        reporter.picture(step, config.method, sheet(list(overlays.values()), captions=captions))

    if jax.process_index() == 0:
        write_json(file, metrics)
    logging.info("Evaluated step %d in %.0f s", step, time.perf_counter() - began)
    return metrics


def faces_to_draw(config, evaluations) -> np.ndarray:
    """A few images from all over a labelled test split, or the training split where there is none: always the same."""
    labelled = next(iter(evaluations.values()), None)
    source = records.open_split(labelled.data, labelled.test_split) if labelled else open_training_split(config)
    chosen = np.linspace(0, len(source) - 1, DRAWN).round().astype(int)
    return np.stack([images.squash(images.decode(source[i]["image"]), config.image_size) for i in chosen])
