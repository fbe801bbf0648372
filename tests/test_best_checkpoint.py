import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.best_checkpoint import BestCheckpoint
from facejax.checkpoints import Checkpoints
from facejax.errors import UserError

METRICS = ("pairs/accuracy", "pose/mae")


class Evaluated(dict):
    """Stands for the evaluator: step -> metrics."""

    def cached(self, step):
        return self.get(step)


class Position:
    """Stands for a data iterator."""

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def metrics(accuracy, mae):
    return {"pairs/accuracy": accuracy, "pose/mae": mae, "other/accuracy": 1.0}


def offer(best, evaluated, step, accuracy, mae):
    evaluated[step] = metrics(accuracy, mae)
    best.offer(step, evaluated[step], {"w": jnp.full(3, step)}, Position())


def kept(workdir):
    """Step and state in `best`, as a resumed run reads them."""
    checkpoints = Checkpoints(workdir / "best")
    state = checkpoints.restore(checkpoints.newest, {"w": jax.ShapeDtypeStruct((3,), jnp.int32)}, Position())
    checkpoints.close()
    return checkpoints.newest, np.asarray(state["w"]).tolist()


def test_the_state_with_the_best_mean_is_kept(tmp_path):
    evaluated = Evaluated()
    best = BestCheckpoint(tmp_path, METRICS, evaluated)
    best.resume(0, metrics(0.9, 5.0), {}, Position())  # the untrained encoder is no candidate
    offer(best, evaluated, 10, 0.5, 20.0)
    offer(best, evaluated, 20, 0.5, 10.0)  # less is better
    offer(best, evaluated, 30, 0.6, 10.2)  # worse: mean of 0.6 and -10.2
    offer(best, evaluated, 40, 0.5, 10.0)  # equal: the first stays
    best.close()
    assert kept(tmp_path) == (20, [20, 20, 20])


def test_a_run_that_resumes_knows_the_best_before_it(tmp_path):
    evaluated = Evaluated()
    best = BestCheckpoint(tmp_path, METRICS, evaluated)
    offer(best, evaluated, 10, 0.5, 10.0)
    best.close()
    evaluated[20] = metrics(0.5, 11.0)
    best = BestCheckpoint(tmp_path, METRICS, evaluated)
    best.resume(20, metrics(0.0, 90.0), {"w": jnp.full(3, 20)}, Position())
    offer(best, evaluated, 30, 0.5, 10.5)
    best.close()
    assert kept(tmp_path) == (10, [10, 10, 10])


def test_the_step_that_was_evaluated_but_not_kept_before_the_end_is_kept(tmp_path):
    evaluated = Evaluated({20: metrics(0.9, 1.0)})
    best = BestCheckpoint(tmp_path, METRICS, evaluated)
    best.resume(20, metrics(0.0, 90.0), {"w": jnp.full(3, 20)}, Position())
    best.close()
    assert kept(tmp_path) == (20, [20, 20, 20])


def test_a_best_state_whose_evaluation_is_gone_is_replaced(tmp_path):
    best = BestCheckpoint(tmp_path, METRICS, Evaluated())
    offer(best, Evaluated(), 10, 0.9, 1.0)
    best.close()
    best = BestCheckpoint(tmp_path, METRICS, Evaluated())
    best.resume(20, metrics(0.0, 90.0), {}, Position())
    offer(best, Evaluated(), 30, 0.1, 20.0)
    best.close()
    assert kept(tmp_path) == (30, [30, 30, 30])


def test_a_metric_that_nothing_gives_is_said_before_the_first_step(tmp_path):
    best = BestCheckpoint(tmp_path, ("pose/mea",), Evaluated())
    with pytest.raises(UserError, match=r"^config\.checkpoint\.best: no evaluation gives 'pose/mea'; .* pose/mae$"):
        best.resume(0, metrics(0.5, 10.0), {}, Position())
    best.close()


def test_nothing_is_kept_unless_asked_for(tmp_path):
    best = BestCheckpoint(tmp_path, (), Evaluated())
    best.resume(0, {}, {}, Position())
    offer(best, Evaluated(), 10, 0.5, 10.0)
    best.close()
    assert not (tmp_path / "best").exists()
