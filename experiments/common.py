"""What the experiments share: where a run begins, how it is saved and logged, and the synthetic faces."""

import ml_collections

FACES = "datasets/synthetic_faces_112"
DEMO_FACES = "datasets/synthetic_faces_64"


def base(method: str, arg, *, args: tuple[str, ...] = ("demo",)) -> ml_collections.ConfigDict:
    """A config that each experiment adds to.

    Args:
      method: what is learned.
      arg: of `get_config`.
      args: what it may be, besides None.

    Raises:
      ValueError: it is something else.
    """
    if arg not in (None, *args):
        raise ValueError(f"the argument after the colon is {', '.join(map(repr, args))} or nothing, not {arg!r}")
    config = ml_collections.ConfigDict()
    config.method = method
    config.seed = 0
    config.mesh = dict(data=-1)  # axis: size; -1 is all there is
    config.sharding = ()  # ((regex on the path in the train state, "fsdp" or an axis for each dimension), ...)
    config.checkpoint = dict(every_steps=1000, keep=3, keep_period=0)
    config.log_every_steps = 50
    config.profile_steps = ()  # (first, last)
    config.evaluate_every_steps = 10_000  # besides the start and the end
    config.synthetic_faces = dict(  # rendered when a run begins and they are not there
        folder=FACES, size=112, train_identities=250, test_identities=60, images_per_identity=12, seed=0
    )
    return config


def records(folder: str, *, image_size: int, **more) -> dict:
    """`config.data`: records to train on, and `more` keys."""
    return dict(
        folder=folder,
        split="train",
        # Images travel to the device with their longer side at most this long, and are cropped there.
        image_size=image_size,
        num_workers=16,  # processes that decode; 0: threads of the main process
        skip_corrupt=False,
        **more,
    )


def on_synthetic_faces(config, *, image_size: int) -> None:
    """Turns to faces of 64 px, decoded by threads of the main process: what demos train on and are judged by."""
    config.synthetic_faces.update(folder=DEMO_FACES, size=64)
    config.data.update(folder=DEMO_FACES, image_size=image_size, num_workers=0)
    for evaluation in config.evaluations.values():
        evaluation.data = DEMO_FACES
    config.evaluate_every_steps = 0


# --- What synthetic faces are asked

_PEOPLE = dict(data=FACES, groups="identity")
EXPRESSION = dict(_PEOPLE, label="expression", probes=("knn", "linear"))
# The people of the two splits differ, so each is looked for among the images of the same split.
IDENTITY = dict(data=FACES, label="identity", probes=("retrieval", "knn"), train_split="test", test_split="test")
ATTRIBUTES = dict(_PEOPLE, label="attributes", probes=("linear",))
POSE = dict(_PEOPLE, label="pose", probes=("ridge",), names=("yaw", "pitch", "roll"))
LANDMARKS = dict(_PEOPLE, label="landmarks", probes=("alignment",))
