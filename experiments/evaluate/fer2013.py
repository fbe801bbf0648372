"""FER2013, expressions, tested on PrivateTest: PCL's linear layer at 100 px, logistic regression, neighbours.

    python -m data_prep.fer2013 --source=DIR --out=datasets/fer2013
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/fer2013.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "fer2013.py")
    faces = dict(data="datasets/fer2013", label="expression", test_split="test")
    return common.config(
        linear=dict(faces, protocol="linear"),
        linear_pcl=dict(faces, protocol="linear", solver="pcl", epochs=0, image_size=100),
        neighbours=dict(faces, protocol="knn"),
    )
