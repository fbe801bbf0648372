"""Eight expressions of FER+, the votes' majority, as in FRA's code; all else as in rafdb.py.

    python -m data_prep.ferplus --source=FERPLUS --out=datasets/ferplus
    python -m facejax.main --config=experiments/finetune/ferplus.py --workdir=workdirs/ferplus \
        --config.initialize_from=workdirs/fra_r50

    python -m facejax.main --config=experiments/finetune/ferplus.py:demo --workdir=workdirs/ferplus_demo \
        --config.initialize_from=workdirs/demo

is the same, small, on synthetic faces, which have seven.

Result to expect: in the table of FRA's paper.
"""

from experiments.finetune import rafdb


def get_config(arg=None):
    """The config; `arg` as for rafdb.py."""
    config = rafdb.get_config(arg)
    if arg != "demo":
        config.data.folder = config.evaluations.expression.data = "datasets/ferplus"
        config.classifier.num_classes = 8
        config.evaluate_every_steps = 485  # about 5 epochs
    return config
