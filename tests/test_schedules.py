import math

import jax
import numpy as np
import pytest

from facejax import schedules


def test_warmup_cosine():
    """The published run: 10 of 50 epochs warm-up, with 7 steps an epoch."""
    peak, steps = 0.9, 7
    schedule = jax.jit(schedules.warmup_cosine(peak, warmup_epochs=10, epochs=50, steps_per_epoch=steps))
    for step in range(50 * steps):
        epoch = step // steps
        if epoch < 10:
            expected = peak * (step + 1) / (10 * steps)
        else:
            expected = peak * 0.5 * (1 + math.cos(math.pi * (epoch - 10) / 40))
        np.testing.assert_allclose(schedule(step), expected, rtol=2e-5, err_msg=str(step))


def test_no_warmup():
    schedule = schedules.warmup_cosine(1.0, warmup_epochs=0, epochs=2, steps_per_epoch=3)
    np.testing.assert_allclose([schedule(step) for step in range(6)], [1, 1, 1, 0.5, 0.5, 0.5], rtol=1e-6)


def test_cosine_momentum():
    schedule = jax.jit(schedules.cosine_momentum(0.996, total_steps=1000))
    for step in (0, 1, 250, 500, 999, 1000):
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * step / 1000) + 1) / 2
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-7)


def test_warmup_then_cosine():
    """34 epochs of 9 steps, 5 of warm-up: against PyTorch's two schedulers, one behind the other, in plain Python."""
    peak, end, steps = 2e-3, 1e-6, 9
    schedule = jax.jit(schedules.warmup_then_cosine(peak, end, warmup_steps=5 * steps, total_steps=34 * steps))
    for step in range(34 * steps):
        warm = 5 * steps
        falling = end + (peak - end) * (1 + math.cos(math.pi * (step - warm - 1) / (29 * steps))) / 2
        np.testing.assert_allclose(schedule(step), peak * step / warm if step <= warm else falling, rtol=2e-5)


@pytest.mark.parametrize("warmup_epochs", [0, 5])
def test_warmup_into_cosine(warmup_epochs):
    """100 epochs of 3 steps, by the fraction of an epoch, as FRA's fine-tuning counts."""
    peak, end, steps = 2e-4, 1e-6, 3
    schedule = jax.jit(
        schedules.warmup_into_cosine(peak, end, warmup_steps=warmup_epochs * steps, total_steps=100 * steps)
    )
    for step in range(100 * steps):
        epoch = step / steps
        expected = end + (peak - end) * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (100 - warmup_epochs))) / 2
        if epoch < warmup_epochs:
            expected = peak * epoch / warmup_epochs
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-4, err_msg=str(step))
