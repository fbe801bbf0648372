"""Frozen protocols on the synthetic faces, which are rendered if they are missing.

    python -m facejax.evaluate workdirs/demo --config=experiments/evaluate/synthetic.py --out=judged

The people of the test split are not those of the training split.
"""

from experiments.evaluate import common


def get_config(arg=None):
    """The config; there is no argument."""
    common.refuse(arg, "synthetic.py")
    faces = "datasets/synthetic_faces_64"  # those of the demos
    people = dict(data=faces, groups="identity")
    among_test = dict(people, train_split="test", test_split="test")
    config = common.config(
        expression_knn=dict(people, protocol="knn", label="expression"),
        expression=dict(people, protocol="linear", label="expression"),
        identity=dict(among_test, protocol="retrieval", label="identity"),
        pairs=dict(data=faces, protocol="verification", label="identity", drawn=1200, flip=True),
        attributes=dict(people, protocol="linear", label="attributes"),
        pose=dict(people, protocol="ridge", label="pose", names=("yaw", "pitch", "roll")),
        pose_pcl=dict(people, protocol="batch_norm_linear", label="pose", epochs=20),
        expression_pcl=dict(people, protocol="linear", solver="pcl", epochs=30, label="expression"),
        few_shot=dict(people, protocol="few_shot", label="expression"),
        action_units=dict(
            people, protocol="action_units", label="action_units", folds=("train", "test"), threshold=0.3
        ),
        templates=dict(people, protocol="ijb", images_of_a_template=3),
        landmarks=dict(people, protocol="alignment", label="landmarks"),
    )
    config.synthetic_faces = dict(
        folder=faces, size=64, train_identities=250, test_identities=60, images_per_identity=12, seed=0
    )
    return config
