"""BP4D, 12 action units, three folds of subjects: logistic regression of each.

    python -m data_prep.bp4d --source=DIR --out=datasets/bp4d
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/bp4d.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "bp4d.py")
    names = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
    return common.config(
        action_units=dict(
            data="datasets/bp4d",
            protocol="action_units",
            label="action_units",
            threshold=0.5,
            groups="subject",
            names=names,
        ),
    )
