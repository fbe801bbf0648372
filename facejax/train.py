"""The training loop, from top to bottom: mesh, data, state, step, checkpoints, evaluations."""

import contextlib
import functools
import signal
import sys

import jax
import jax.numpy as jnp
from absl import logging

from facejax import methods, paths, reporting, sharding, training_data, workdir_encoder, workdir_lock
from facejax.best_checkpoint import BestCheckpoint
from facejax.checkpoints import Checkpoints
from facejax.config_schema.check import check
from facejax.encoder import Encoder
from facejax.evaluation import comparison, suite
from facejax.evaluator import Evaluator
from facejax.files import write_json
from facejax.finite_loss import FiniteLoss
from facejax.interruptions import stop_signals
from facejax.progress import phase
from facejax.reporting import Reporter, StepLog, check_workdir, claim_workdir, has_checkpoint, profiling

INIT, STEPS = 0, 1  # what the two random streams of a run are for


def train(config, workdir) -> dict:
    """Trains `config.method` until `config.epochs` are over, or goes on with what `workdir` holds.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.
      workdir: folder of the run, a local path or a URL. It gets config.json, versions.json, parameters.txt,
        checkpoints/, tensorboard/, pictures/, evaluations/ and, at the end, encoder/ and results.json.

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
    splits, source, order = training_data.prepare(config, evaluations, method)
    evaluations = suite.without_unlabelled(evaluations, splits)
    steps_per_epoch, total_steps = order.steps_per_epoch, config.epochs * order.steps_per_epoch
    logging.info(
        "%d images, %d epochs of %d steps of %d images, on %d x %s",
        len(source), config.epochs, steps_per_epoch, config.batch_size, mesh.size, jax.devices()[0].device_kind,
    )  # fmt: skip

    # --- Method
    method = methods.create(config, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    batch = training_data.abstract_batch(config, method, source)
    with workdir_lock.held(workdir) as check_lock:  # not before: a config that cannot work leaves nothing behind
        claim_workdir(workdir, config)

        # --- State: that of the newest complete checkpoint, or a fresh one
        initial_state, abstract_state = prepare_state(config, method, mesh, batch)
        settings = config.checkpoint
        checkpoints = Checkpoints(workdir, keep=settings.keep, keep_period=settings.keep_period, before_save=check_lock)
        batches = training_data.batches(config, source, order, mesh, method.fields)
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
        evaluator = Evaluator(method, mesh, evaluations, splits, drawn, reporter, workdir)
        untrained = evaluator.cached(0)
        if untrained is None:
            untrained = evaluator.evaluate(0, method.start_from(initial_state()) if first_step else state)

        # --- Loop
        best = BestCheckpoint(workdir, settings.get("best", ()), evaluator, before_save=check_lock)
        best.resume(first_step, untrained, state, batches)
        rng = jax.random.fold_in(jax.random.key(config.seed), STEPS)
        log = StepLog(reporter, range(first_step, total_steps), config.batch_size, every=config.log_every_steps)
        finite = FiniteLoss(checkpoints)
        with contextlib.closing(reporter), contextlib.closing(best):
            with (
                contextlib.closing(batches),  # a thread left putting them on the device crashes the end of the process
                stop_signals() as stopped,
                profiling(config.profile_steps, workdir) as profile,
            ):
                for step in range(first_step + 1, total_steps + 1):
                    profile(step)
                    with log.waiting_for_data():
                        batch = next(batches)
                    state, metrics = step_function(state, batch, rng)
                    finite.check_previous(step, metrics["total"])
                    log.step(step, metrics, skipped_records=batches.num_skipped)
                    preempted = checkpoints.reached_preemption(step)
                    leaving = stopped() or (signal.SIGTERM if preempted else 0)
                    last = step == total_steps
                    if step % settings.every_steps == 0 or last or leaving:
                        finite.check_now()
                        checkpoints.save(step, state, batches)
                    if leaving:
                        checkpoints.close()
                        logging.info("Asked to stop: step %d is saved; the same command resumes from there.", step)
                        sys.exit(128 + leaving)
                    if config.evaluate_every_steps and step % config.evaluate_every_steps == 0 and not last:
                        with log.paused():
                            best.offer(step, evaluator.evaluate(step, state), state, batches)
            with phase("Finishing the last checkpoint"):
                checkpoints.close()

            # --- What it gained
            trained = evaluator.evaluate(total_steps, state)
            best.offer(total_steps, trained, state, batches)
            card = workdir_encoder.card_of_run(config, total_steps, trained, untrained)
            Encoder.of_method(method, state, card).save(workdir / workdir_encoder.FOLDER, replace=True)
        return write_results(config, workdir, total_steps, untrained, trained, best.found)


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


def write_results(config, workdir, steps: int, untrained, trained, best=None) -> dict:
    """Writes results.json and prints the table, on process 0; returns what the file holds.

    The table is of the last step; next to it stand step and metrics of the best saved state (`best`).
    """
    rows = comparison.compare(untrained, trained)
    results = {
        "method": config.method,
        "steps": steps,
        "untrained": untrained,
        "trained": trained,
        "comparison": [row._asdict() for row in rows],
    }
    told = [comparison.format_table(rows)]
    if best:
        results["best"] = best
        values = ", ".join(f"{name} {best['metrics'][name]:.4f}" for name in config.checkpoint.best)
        told.append(f"The best of the evaluated states is that of step {best['step']}: {values}; it is in best/.")
    if jax.process_index() == 0:
        write_json(workdir / "results.json", results)
        print(*told, reporting.where_to_look(workdir), sep="\n\n", flush=True)
    return results
