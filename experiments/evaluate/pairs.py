"""LFW, CFP-FP and AgeDB-30, aligned as InsightFace ships them, CALFW and CPLFW: ten folds, flip-sum.

    python -m data_prep.insightface_bin --source=DIR --out=datasets/pairs
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/pairs.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "pairs.py")

    def pairs(folder, split):
        return dict(data=folder, protocol="verification", label="same", test_split=split, flip=True)

    return common.config(
        lfw=pairs("datasets/pairs", "lfw"),
        cfp_fp=pairs("datasets/pairs", "cfp_fp"),
        agedb_30=pairs("datasets/pairs", "agedb_30"),
        calfw=pairs("datasets/calfw", "test"),
        cplfw=pairs("datasets/cplfw", "test"),
    )
