"""Head pose, 300W-LP to BIWI: PCL's batch norm and linear layer at 256 px, and ridge regression.

    python -m data_prep.biwi --crop=0 --source=DIR --out=datasets/biwi
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/biwi.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "biwi.py")
    faces = dict(data="datasets/biwi", train_data="datasets/w300lp", label="pose", names=("yaw", "pitch", "roll"))
    return common.config(
        pose=dict(faces, protocol="ridge"),
        pose_pcl=dict(faces, protocol="batch_norm_linear", epochs=300, image_size=256, interpolation="bicubic"),
    )
