import numpy as np
import pytest
from random_inputs import generator

from facejax.evaluation import ridge
from facejax.evaluation.held_out import held_out


def reference(x, y, queries, penalty, mean, scale):
    """Ridge in float64 by the normal equations; features moved by the mean and scale of the training split."""
    x, queries = (x - mean) / scale, (queries - mean) / scale
    centre, level = x.mean(0), y.mean(0)
    gram = (x - centre).T @ (x - centre) / len(x) + penalty * np.eye(x.shape[1])
    return (queries - centre) @ np.linalg.solve(gram, (x - centre).T @ (y - level) / len(x)) + level


def problem(rng, num, dim):
    x = (rng.standard_normal((num, dim)) * np.exp(rng.uniform(-1, 1, dim)) + 3).astype("f4")
    y = x @ rng.standard_normal((dim, 3)) / np.sqrt(dim) * [20, 10, 5] + rng.standard_normal((num, 3)) * [1, 5, 10]
    return x, y


@pytest.mark.parametrize("train_size, dim", [(160, 24), (60, 100)])  # the second: more features than images
def test_equals_the_normal_equations_at_the_penalty_that_the_held_out_part_prefers(train_size, dim):
    x, y = problem(generator(), train_size + 40, dim)
    train, test, train_y, test_y = x[:train_size], x[train_size:], y[:train_size], y[train_size:]
    result = ridge.ridge_regression(train, train_y, test, test_y)
    mean, scale = train.astype(float).mean(0), train.astype(float).std(0)
    out = held_out(train_size)
    errors = np.array(
        [
            np.square(reference(train[~out], train_y[~out], train[out], p, mean, scale) - train_y[out]).mean(0)
            for p in ridge.PENALTIES
        ]
    )
    for target in range(3):
        chosen = int(np.argmin(np.abs(np.log(ridge.PENALTIES) - np.log(result.penalty[target]))))
        assert errors[chosen, target] <= errors[:, target].min() * 1.001
        expected = reference(train, train_y, test, ridge.PENALTIES[chosen], mean, scale)[:, target]
        # float32 covariance: 1e-7 of its largest eigenvalue, against penalties from 1e-3.
        np.testing.assert_allclose(result.predictions[:, target], expected, atol=2e-3 * np.abs(test_y[:, target]).max())
    residual = test_y - result.predictions
    np.testing.assert_allclose(result.mean_absolute_error, np.abs(residual).mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        result.r2, 1 - residual.var(0) / test_y.var(0) - residual.mean(0) ** 2 / test_y.var(0), atol=1e-5
    )


def test_noise_explains_nothing_and_a_line_everything():
    rng = generator()
    x = rng.standard_normal((400, 8))
    noise = ridge.ridge_regression(x[:300], rng.standard_normal(300), x[300:], rng.standard_normal(100))
    assert abs(noise.r2[0]) < 0.2
    line = ridge.ridge_regression(x[:300], 90 * x[:300, 0], x[300:], 90 * x[300:, 0])
    assert line.r2[0] > 0.999 and line.mean_absolute_error[0] < 1


def test_degenerate_features_and_targets():
    x = np.ones((40, 5), np.float32)
    result = ridge.ridge_regression(x[:30], np.arange(30.0), x[30:], np.full(10, 4.0))
    np.testing.assert_allclose(result.predictions, 14.5, rtol=1e-5)  # nothing but the mean is known
    assert np.isnan(result.r2[0])
