"""Every frozen protocol on the synthetic faces, which are rendered if they are missing.

    python -m facejax.evaluate workdirs/demo --config=experiments/evaluate/synthetic.py --out=judged

The people of the test split are not those of the training split.
"""

import ml_collections


def get_config(arg=None):
    """The config; there is no argument."""
    if arg is not None:
        raise ValueError(f"synthetic.py takes no argument, not {arg!r}")
    config = ml_collections.ConfigDict()
    config.draws, config.seed, config.skip_corrupt = 1000, 0, False
    faces = "datasets/synthetic_faces_64"  # those of the demos
    config.synthetic_faces = dict(
        folder=faces, size=64, train_identities=250, test_identities=60, images_per_identity=12, seed=0
    )
    people = dict(data=faces, groups="identity")
    among_test = dict(people, train_split="test", test_split="test")
    config.tasks = dict(
        expression_knn=dict(people, protocol="knn", label="expression"),
        expression=dict(people, protocol="linear", label="expression"),
        identity=dict(among_test, protocol="retrieval", label="identity"),
        pairs=dict(data=faces, protocol="verification", label="identity", drawn=1200, flip=True),
        attributes=dict(people, protocol="linear", label="attributes"),
        pose=dict(people, protocol="ridge", label="pose", names=("yaw", "pitch", "roll")),
        landmarks=dict(people, protocol="alignment", label="landmarks"),
    )
    return config
