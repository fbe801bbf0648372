"""How long a train step takes, and how much of it is spent waiting for data.

    python -m benchmarks.train_step --config=experiments/fra_r50.py:demo [--config.batch_size=N] [--steps=30]

Prints compile time apart, then seconds a step and images a second twice: with one batch that stays on the device (what
the device can do) and fed by the input pipeline; their ratio is what the pipeline costs.
"""

import json
import time

import jax
from absl import app, flags
from ml_collections import config_flags

from facejax import methods, sharding, train, training_data

config_flags.DEFINE_config_file("config", None, "experiment", lock_config=True)
flags.DEFINE_integer("steps", 30, "steps that are timed, after two that are not")
flags.mark_flag_as_required("config")


def main(_):
    """Measures and prints one JSON object."""
    config, steps = flags.FLAGS.config, flags.FLAGS.steps
    mesh = sharding.make_mesh(config.mesh)
    method = methods.create(config, steps_per_epoch=1, total_steps=config.epochs)
    _, source, order = training_data.prepare(config, {}, method)
    per_epoch = order.steps_per_epoch
    method = methods.create(config, steps_per_epoch=per_epoch, total_steps=config.epochs * per_epoch)
    abstract_batch = training_data.abstract_batch(config, method, source)
    initial_state, abstract_state = train.prepare_state(config, method, mesh, abstract_batch)
    began = time.perf_counter()
    step_function = train.compile_step(method, mesh, abstract_batch, abstract_state)
    compile_seconds = time.perf_counter() - began

    batches = training_data.batches(config, source, order, mesh, method.fields)
    rng = jax.random.key(config.seed)
    resident = next(batches)
    state = initial_state()

    def timed(next_batch):
        nonlocal state
        waited = 0.0
        for step in range(-2, steps):
            if step == 0:
                jax.block_until_ready(state)
                waited, began = 0.0, time.perf_counter()
            asked = time.perf_counter()
            batch = next_batch()
            waited += time.perf_counter() - asked
            state, metrics = step_function(state, batch, rng)
            jax.block_until_ready(metrics)
        seconds = (time.perf_counter() - began) / steps
        return seconds, waited / steps / seconds

    on_device, _ = timed(lambda: resident)
    fed, waiting = timed(lambda: next(batches))
    cost = step_function.cost_analysis()
    print(
        json.dumps(
            {
                "device": f"{mesh.size} x {jax.devices()[0].device_kind}",
                "batch_size": config.batch_size,
                "compile_seconds": round(compile_seconds, 1),
                "seconds_per_step": {"batch on the device": round(on_device, 4), "from the pipeline": round(fed, 4)},
                "images_per_second": {
                    "batch on the device": round(config.batch_size / on_device, 1),
                    "from the pipeline": round(config.batch_size / fed, 1),
                },
                "share_waiting_for_data": round(waiting, 4),
                "pipeline_cost": round(fed / on_device - 1, 4),
                "gflop_per_step": round(cost.get("flops", float("nan")) / 1e9, 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    app.run(main)
