import numpy as np

from facejax.evaluation import verification


def test_folds_and_roc_equal_the_official_ones(goldens):
    vectors = goldens("metrics_losses")
    result = verification.verify_pairs(vectors["verification/embeddings"], vectors["verification/same"])
    np.testing.assert_array_equal(result.fold_accuracy, vectors["verification/fold_accuracy"])
    np.testing.assert_array_equal(result.fold_threshold, vectors["verification/fold_threshold"])
    # Means of the folds' rates: sums in another order differ in the last bit.
    np.testing.assert_allclose(result.true_positive_rate, vectors["verification/tpr"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(result.false_positive_rate, vectors["verification/fpr"], rtol=0, atol=1e-15)
