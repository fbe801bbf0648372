"""IJB-B by templates, 1:1 and 1:N.

    python -m data_prep.ijb --set=B --align --source=DIR --out=datasets/ijbb
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/ijbb.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "ijbb.py")
    config = common.config(ijb=dict(data="datasets/ijbb", protocol="ijb", reading="official"))
    config.draws = 100  # each goes over millions of pairs
    return config
