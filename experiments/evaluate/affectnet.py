"""AffectNet, 7 expressions, tested on the validation split: logistic regression, FRA's schedule, neighbours.

    python -m data_prep.affectnet --classes=7 --source=DIR --out=datasets/affectnet
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/affectnet.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "affectnet.py")
    faces = dict(data="datasets/affectnet", label="expression", test_split="validation")
    return common.config(
        linear=dict(faces, protocol="linear"),
        linear_fra=dict(faces, protocol="linear", solver="fra", epochs=0),
        neighbours=dict(faces, protocol="knn"),
    )
