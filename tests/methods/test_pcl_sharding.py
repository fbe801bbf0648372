"""PCL on eight virtual devices against one, in a process of its own: JAX counts its devices once.

In float64, where only the order of sums differs. In float32 that is enough to part the runs: Adam's steps have full
length however small a gradient is, and a ReLU at 0 has one derivative or the other.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
jnp.float32 = jnp.float64  # before anything else reads it: what is float32 by design would round
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import tiny_pcl
from facejax.methods import pcl

config = tiny_pcl.get_config()
config.augmentation, config.dtype = {}, "float64"
method = pcl.PCL(config, steps_per_epoch=2, total_steps=2)
rng = np.random.default_rng(0)
batches = [tiny_pcl.get_batch(rng, config) for _ in range(3)]
shapes = jax.eval_shape(method.init, jax.random.key(0), batches[0])
params = jax.tree.map(  # of the right size, without compiling `init`; with biases of 0 some ReLUs would be at 0
    lambda x: rng.normal(size=x.shape) * ((2 / np.prod(x.shape[:-1])) ** 0.5 if x.ndim > 1 else 0.1), shapes.params
)
for norm in [params["decoder"]["norm1"], params["decoder"]["norm2"]] + [
    params[f"{branch}_projection"]["norm"] for branch in ("face", "pose")
]:
    norm["scale"] += 1
statistics = jax.tree.map(lambda x: np.ones(x.shape), shapes.statistics)
losses = []
for count in (1, 8):
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        step = jax.jit(method.train_step, in_shardings=(whole, split, whole), out_shardings=(whole, whole))
        state = jax.device_put(method.new_state(params, statistics), whole)
        compiled = step.lower(state, jax.device_put(batches[0], split), jax.random.key(1)).compile()
        metrics = []
        for batch in batches:
            state, found = compiled(state, jax.device_put(batch, split), jax.device_put(jax.random.key(1), whole))
            metrics.append({name: float(value) for name, value in found.items()})
    assert all(x.dtype == "float64" for x in jax.tree.leaves(state.params))
    losses.append({"metrics": metrics, "flops": compiled.cost_analysis()["flops"]})
print(json.dumps(losses))
"""


def test_eight_devices_do_what_one_does_in_an_eighth_of_the_work():
    here = pathlib.Path(__file__).parent
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # a few tiny steps take less time than optimising them
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]),
    }
    output = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    one, eight = json.loads(output.stdout.splitlines()[-1])
    for step, (expected, found) in enumerate(zip(one["metrics"], eight["metrics"], strict=True)):
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-10, err_msg=f"step {step}: {name}")
    assert eight["flops"] < one["flops"] / 4  # what is left whole on each device is small, though not in so small a net
