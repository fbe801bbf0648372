"""IJB-C by templates, 1:1 and 1:N.

    python -m data_prep.ijb --set=C --align --source=DIR --out=datasets/ijbc
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/ijbc.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "ijbc.py")
    config = common.config(ijb=dict(data="datasets/ijbc", protocol="ijb", reading="official"))
    config.draws = 100  # each goes over millions of pairs
    return config
