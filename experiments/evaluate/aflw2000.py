"""Head pose, 300W-LP to AFLW2000-3D: PCL's batch norm and linear layer at 256 px, and ridge regression.

    python -m data_prep.aflw2000 --source=DIR --out=datasets/aflw2000
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/aflw2000.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "aflw2000.py")
    faces = dict(data="datasets/aflw2000", train_data="datasets/w300lp", label="pose", names=("yaw", "pitch", "roll"))
    return common.config(
        pose=dict(faces, protocol="ridge"),
        pose_pcl=dict(faces, protocol="batch_norm_linear", epochs=300, image_size=256, interpolation="bicubic"),
    )
