"""Expressions of RAF-DB: an encoder and a linear head trained together as FRA's paper does, number for number.

Gao & Patras, "Self-Supervised Facial Representation Learning with Facial Region Awareness", CVPR 2024,
arXiv 2403.02138; the README of its code has the flags.

    python -m data_prep.rafdb --source=RAFDB/basic --out=datasets/rafdb
    python -m facejax.main --config=experiments/finetune/rafdb.py --workdir=workdirs/rafdb \
        --config.initialize_from=workdirs/fra_r50

The encoder is whatever `facejax.load` takes that holds a ResNet-50; with `random` the network learns from scratch. The
last epoch is reported, the best one next to it; official numbers are the best of those looked at, every 5 epochs.

    python -m facejax.main --config=experiments/finetune/rafdb.py:demo --workdir=workdirs/rafdb_demo \
        --config.initialize_from=workdirs/demo

is the same, small, on synthetic faces, from the demo of FRA: a minute or two on two cores.

Result to expect: more than 85.92, which a third party lists for a linear probe on PCL's features; FRA's own table is in
its paper.
"""

from experiments import common


def get_config(arg=None):
    """The config.

    Args:
      arg: None for the paper's run, "demo" for the laptop's.
    """
    config = common.base("finetune", arg)
    config.epochs = 100
    config.batch_size = 256  # over all devices
    config.image_size = 224
    config.dtype = "bfloat16"  # of the computation; parameters, statistics and losses are float32
    config.mean, config.std = (0.5231, 0.4044, 0.3489), (0.2536, 0.2194, 0.2070)  # of VGGFace2
    config.data = common.records("datasets/rafdb", image_size=224, fraction=1.0, label="expression", balanced=False)
    config.view = dict(
        flip=0.5,
        jitter=(0.5, 0.5, 0.5, 0.0),  # brightness, contrast, saturation, hue
        jitter_probability=0.5,
        shift=0.2,
        shift_probability=0.5,
        rotation=10.0,
        rotation_probability=0.5,
    )
    config.erasing = dict(probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.0)

    config.resnet = dict(variant="resnet50", width=64, output_stride=32)  # as the encoder was trained
    config.initialize_from = ""  # to be set: see above
    config.classifier = dict(targets="classes", num_classes=7, hidden_dims=(), dropout=0.0)
    config.optimizer = dict(
        learning_rate=2e-4, head_learning_rate=2e-4, final_learning_rate=1e-6, warmup_epochs=5, weight_decay=0.05
    )

    config.checkpoint.best = ("expression/logits/accuracy",)
    config.evaluate_every_steps = 5 * (12_271 // 256)  # 5 epochs
    config.evaluations = dict(
        expression=dict(
            label="expression", probes=("classification",), data="datasets/rafdb", test_split="test", kinds=("logits",)
        )
    )
    if arg == "demo":
        shrink(config)
    return config


def shrink(config):
    """Turns the paper's run into the laptop's, on the faces and with the encoder of FRA's demo."""
    common.on_synthetic_faces(config, image_size=64)
    config.epochs = 16
    config.batch_size = 64
    config.image_size = 48
    config.dtype = "float32"
    # Gentle: what an expression is made of is a few pixels wide.
    config.view.update(jitter=(0.2, 0.2, 0.1, 0.0), shift=0.05, rotation=5.0)
    config.erasing.probability = 0.0
    config.resnet.update(variant="resnet18", width=16, output_stride=16)
    config.optimizer.update(learning_rate=1e-3, head_learning_rate=1e-3, warmup_epochs=1)
    config.evaluate_every_steps = 4 * (3000 // 64)
