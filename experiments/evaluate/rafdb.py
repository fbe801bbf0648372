"""RAF-DB, basic expressions: PCL's linear layer at 100 px, logistic regression, neighbours, few images a class.

    python -m data_prep.rafdb --source=DIR --out=datasets/rafdb
    python -m facejax.evaluate ENCODER --config=experiments/evaluate/rafdb.py --out=judged

Published numbers: docs/results.md.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "rafdb.py")
    faces = dict(data="datasets/rafdb", label="expression")
    return common.config(
        linear=dict(faces, protocol="linear"),
        linear_fra=dict(faces, protocol="linear", solver="fra", epochs=0),
        linear_pcl=dict(faces, protocol="linear", solver="pcl", epochs=0, image_size=100),
        neighbours=dict(faces, protocol="knn"),
        few_shot=dict(faces, protocol="few_shot"),
    )
