"""Settings that the experiments share: devices, checkpoints, logging, and the synthetic faces."""

import ml_collections

FACES = "datasets/synthetic_faces_112"
DEMO_FACES = "datasets/synthetic_faces_64"


def base(method: str, arg, *, args: tuple[str, ...] = ("demo",)) -> ml_collections.ConfigDict:
    """A config that each experiment adds to.

    Args:
      method: what is learned.
      arg: of `get_config`.
      args: its values, in addition to None.

    Raises:
      ValueError: it has another value.
    """
    if arg not in (None, *args):
        raise ValueError(f"the argument after the colon is {', '.join(map(repr, args))} or nothing, not {arg!r}")
    config = ml_collections.ConfigDict()
    config.method = method
    config.seed = 0
    config.mesh = dict(data=-1)  # axis: size; -1: all devices
    config.sharding = ()  # ((regex on the path in the train state, "fsdp" or an axis for each dimension), ...)
    config.checkpoint = dict(every_steps=1000, keep=3, keep_period=0)
    config.log_every_steps = 50
    config.profile_steps = ()  # (first, last)
    config.evaluate_every_steps = 10_000  # in addition to the start and the end
    config.synthetic_faces = dict(  # rendered when a run begins, if they do not exist
        folder=FACES, size=112, train_identities=250, test_identities=60, images_per_identity=12, seed=0
    )
    return config


def records(folder: str, *, image_size: int, **more) -> dict:
    """`config.data`: records to train on, and `more` keys."""
    return dict(
        folder=folder,
        split="train",
        # Images are sent to the device with their longer side at most this long, and cropped there.
        image_size=image_size,
        num_workers=16,  # processes that decode; 0: threads of the main process
        skip_corrupt=False,
        **more,
    )


def on_synthetic_faces(config, *, image_size: int) -> None:
    """Switches to faces of 64 px for training and evaluation in demos, decoded by threads of the main process."""
    config.synthetic_faces.update(folder=DEMO_FACES, size=64)
    config.data.update(folder=DEMO_FACES, image_size=image_size, num_workers=0)
    for evaluation in config.evaluations.values():
        evaluation.data = DEMO_FACES
    config.evaluate_every_steps = 0


# --- Evaluations on synthetic faces

_PEOPLE = dict(data=FACES, groups="identity")
EXPRESSION = dict(_PEOPLE, label="expression", probes=("knn", "linear"))
# The two splits have different people, so neighbours are searched in the same split.
IDENTITY = dict(data=FACES, label="identity", probes=("retrieval", "knn"), train_split="test", test_split="test")
ATTRIBUTES = dict(_PEOPLE, label="attributes", probes=("linear",))
POSE = dict(_PEOPLE, label="pose", probes=("ridge",), names=("yaw", "pitch", "roll"))
LANDMARKS = dict(_PEOPLE, label="landmarks", probes=("alignment",))
