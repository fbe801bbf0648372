"""Expressions of FER2013, trained on Training and tested on PrivateTest, as in FRA's code; all else as in rafdb.py.

    python -m data_prep.fer2013 --source=FER2013 --out=datasets/fer2013
    python -m facejax.main --config=experiments/finetune/fer2013.py --workdir=workdirs/fer2013 \
        --config.initialize_from=workdirs/fra_r50

    python -m facejax.main --config=experiments/finetune/fer2013.py:demo --workdir=workdirs/fer2013_demo \
        --config.initialize_from=workdirs/demo

is the same, small, on synthetic faces.

Result to expect: more than 56.81, which a third party lists for a linear probe on PCL's features.
"""

from experiments.finetune import rafdb


def get_config(arg=None):
    """The config; `arg` as for rafdb.py."""
    config = rafdb.get_config(arg)
    if arg != "demo":
        config.data.folder = config.evaluations.expression.data = "datasets/fer2013"
        config.evaluate_every_steps = 5 * (28_709 // 256)
    return config
