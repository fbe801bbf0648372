"""Forty attributes of CelebA: an encoder and a head with two hidden layers, as in FRA's code, number for number.

Trained on the training split alone, tested on the test split; images of 178 x 218 are squashed to 224 x 224; no
erasing. Epochs, rates and all else are those of rafdb.py.

    python -m data_prep.celeba --source=CELEBA --out=datasets/celeba
    python -m facejax.main --config=experiments/finetune/celeba.py --workdir=workdirs/celeba \
        --config.initialize_from=workdirs/fra_r50

    python -m facejax.main --config=experiments/finetune/celeba.py:demo --workdir=workdirs/celeba_demo \
        --config.initialize_from=workdirs/demo

is the same, small, on the 19 attributes of synthetic faces.

Result to expect: a mean accuracy of about 91.5 %; a third party lists PCL with 91.48.
"""

from experiments.finetune import rafdb


def get_config(arg=None):
    """The config; `arg` as for rafdb.py."""
    config = rafdb.get_config(arg)
    demo = arg == "demo"
    config.data.label = "attributes"
    config.erasing.probability = 0.0
    config.classifier = dict(
        targets="attributes",
        num_classes=19 if demo else 40,
        hidden_dims=(64, 32) if demo else (512, 256),
        dropout=0.2,
    )
    evaluation = config.evaluations.expression
    evaluation.label = "attributes"
    config.evaluations = dict(attributes=evaluation)
    config.checkpoint.best = ("attributes/logits/mean_accuracy",)
    if not demo:
        config.data.folder = evaluation.data = "datasets/celeba"
        config.evaluate_every_steps = 5 * (162_770 // 256)
    return config
