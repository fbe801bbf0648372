"""CelebA, 40 attributes: logistic regression of each, drawn again by person where the records have identities.

    python -m data_prep.celeba --source=DIR --out=datasets/celeba
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/celeba.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "celeba.py")
    return common.config(
        attributes=dict(data="datasets/celeba", protocol="linear", label="attributes"),
    )
