"""PCL on eight virtual devices against one, in a process of its own: JAX counts its devices once."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

SCRIPT = """
import json
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import tiny_pcl
from facejax.methods import pcl

config = tiny_pcl.get_config()
config.augmentation = {}
method = pcl.PCL(config, steps_per_epoch=2)
rng = np.random.default_rng(0)
batches = [tiny_pcl.get_batch(rng, config) for _ in range(3)]
shapes = jax.eval_shape(method.init, jax.random.key(0), batches[0])
params = jax.tree.map(  # of the right size, without compiling `init`; biases start at 0
    lambda x: (rng.normal(size=x.shape) * (x.ndim > 1) * (2 / np.prod(x.shape[:-1])) ** 0.5).astype("float32"),
    shapes.params,
)
for norm in [params["decoder"]["norm1"], params["decoder"]["norm2"]] + [
    params[f"{branch}_projection"]["norm"] for branch in ("face", "pose")
]:
    norm["scale"] += 1
statistics = jax.tree.map(lambda x: np.ones(x.shape, "float32"), shapes.statistics)
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
    losses.append({"metrics": metrics, "flops": compiled.cost_analysis()["flops"]})
print(json.dumps(losses))
"""


def test_eight_devices_do_what_one_does_in_an_eighth_of_the_work():
    here = pathlib.Path(__file__).parent
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]),
    }
    output = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True, text=True)
    one, eight = json.loads(output.stdout.splitlines()[-1])
    for step, (expected, found) in enumerate(zip(one["metrics"], eight["metrics"], strict=True)):
        for name, value in expected.items():
            # A contrast is a difference of numbers up to 1 / 0.07, which float32 rounds to 1e-6.
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-6, err_msg=f"step {step}: {name}")
    assert eight["flops"] < one["flops"] / 4  # what is left whole on each device is small, though not in so small a net
