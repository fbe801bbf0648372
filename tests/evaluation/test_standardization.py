import numpy as np
from random_inputs import generator

from facejax.evaluation.standardization import standardize


def test_mean_and_variance_of_the_training_split_move_all_splits():
    rng = generator()
    scale, shift = np.exp(rng.uniform(-4, 4, 6)), 100 * rng.standard_normal(6)
    train, test = rng.standard_normal((80, 6)) * scale + shift, rng.standard_normal((30, 6)) * scale + shift
    moved = standardize(train.astype("f4"), test.astype("f4"))
    mean, deviation = train.astype("f4").astype(float).mean(0), train.astype("f4").astype(float).std(0)
    for got, split in zip(moved, (train, test), strict=True):
        np.testing.assert_allclose(got, (split.astype("f4") - mean) / deviation, rtol=2e-4, atol=2e-4)


def test_constant_features_are_not_blown_up():
    rng = generator()
    train = np.stack([np.full(40, 0.1), np.zeros(40), 7 + 1e-7 * rng.standard_normal(40)], 1).astype("f4")
    test = train[:5] + np.float32(0.5)
    moved_train, moved_test = standardize(train, test)
    np.testing.assert_allclose(moved_train, 0, atol=1e-5)
    np.testing.assert_allclose(moved_test, 0.5, atol=1e-5)
