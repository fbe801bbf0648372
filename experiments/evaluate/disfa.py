"""DISFA, 8 action units, three folds of subjects: logistic regression of each.

    python -m data_prep.disfa --crop=0.2 --size=256 --source=DIR --out=datasets/disfa
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/disfa.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "disfa.py")
    names = ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU25", "AU26")
    return common.config(
        action_units=dict(
            data="datasets/disfa",
            protocol="action_units",
            label="action_units",
            threshold=2.0,
            groups="subject",
            names=names,
        ),
    )
