"""Seven expressions of AffectNet, drawn equally often, as FRA's paper does; all else is that of rafdb.py.

    python -m data_prep.affectnet --source=AFFECTNET --out=datasets/affectnet --classes=7
    python -m facejax.main --config=experiments/finetune/affectnet.py --workdir=workdirs/affectnet \
        --config.initialize_from=workdirs/fra_r50

    python -m facejax.main --config=experiments/finetune/affectnet.py:demo --workdir=workdirs/affectnet_demo \
        --config.initialize_from=workdirs/demo

is the same, small, on synthetic faces.

Result to expect: more than 60.77, which a third party lists for a linear probe on PCL's features.
"""

from experiments.finetune import rafdb


def get_config(arg=None):
    """The config; `arg` as for rafdb.py."""
    config = rafdb.get_config(arg)
    config.data.balanced = True  # as many draws as images, with replacement
    if arg != "demo":
        config.data.folder = config.evaluations.expression.data = "datasets/affectnet"
        config.evaluations.expression.test_split = "validation"  # the test set was never published
        config.evaluate_every_steps = 5 * (283_901 // 256)
    return config
