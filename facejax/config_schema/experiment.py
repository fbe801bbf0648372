"""The keys that all experiments have, whatever the method."""

from typing import Literal

from facejax.config_schema.fields import (
    Axes,
    Count,
    FaceSize,
    Folder,
    Fraction,
    Names,
    PositiveCount,
    Rules,
    Section,
    Seed,
    Steps,
    Switch,
    Text,
    key,
)
from facejax.data import few_shot
from facejax.errors import UserError
from facejax.evaluation.suite import Evaluation


class Data(Section):
    """Records to train on."""

    folder: Folder = key("folder of the records, in TFDS layout")
    split: Text = key("split of the records to train on")
    image_size: PositiveCount = key("longest side, pixels, of an image sent to the device, where it is cropped")
    num_workers: Count = key("processes that decode images; 0: threads of the main process")
    skip_corrupt: Switch = key("skip damaged records, log and count them, instead of stopping")


class LabelledData(Data):
    """Records to train on, which a label can select."""

    label: Text = key("integer field of the records that holds their class")
    images_per_class: Count = key("images of each class to train on, drawn at random; 0: all")
    class_share: Fraction = key("fraction of the classes to train on")
    class_choice: Literal[*few_shot.CHOICES] = key(
        "how these classes are chosen: at random, or from the first records, as in the official LAFS code"
    )


class Checkpoint(Section):
    """How often the run is saved."""

    every_steps: PositiveCount = key("steps from one checkpoint to the next")
    keep: PositiveCount = key("number of newest checkpoints that are kept")
    keep_period: Count = key("checkpoints at multiples of this step are never deleted; 0: none")
    best: Names = key("metrics whose mean decides which evaluated state is stored in best/; (): none", default=())


class SyntheticFaces(Section):
    """The embedded data set, rendered where a run needs its folder and the folder does not exist."""

    folder: Folder = key("folder that the faces are rendered into; every key that names the same folder reads them")
    size: FaceSize = key("side of a face, pixels")
    train_identities: PositiveCount = key("people in the split 'train'")
    test_identities: PositiveCount = key("other people, in the split 'test'")
    images_per_identity: PositiveCount = key("images of each person")
    seed: Seed = key("seed of everything random")


class Experiment(Section):
    """The keys that the training loop reads."""

    method: Text = key("what is learned")
    seed: Seed = key("seed of the initial parameters, the order of the records and the random views")
    epochs: PositiveCount = key("passes over the training records, after which the run ends")
    batch_size: PositiveCount = key("records per step, over all devices")
    image_size: PositiveCount = key("side of the images that the network sees, pixels")
    dtype: Literal["float32", "bfloat16"] = key("type of the computation; parameters and losses are float32")
    data: Data = key("records to train on")
    mesh: Axes = key("size of each axis of the device mesh; -1: all remaining devices")
    sharding: Rules = key(
        "how the train state is split: the first expression found in an array's path decides; others are not split"
    )
    checkpoint: Checkpoint = key("when the run is saved, and which checkpoints are kept")
    log_every_steps: PositiveCount = key("steps from one line of progress to the next")
    profile_steps: Steps = key("first and last step that are traced into workdir/profile; (): none")
    synthetic_faces: SyntheticFaces | None = key(
        "the embedded data set, rendered where a run needs it and it does not exist; None: not used", default=None
    )
    evaluate_every_steps: Count = key("steps from one evaluation to the next; 0: only at the start and at the end")
    evaluations: dict[str, Evaluation] = key(
        "evaluations by name: labelled records, and the probes applied to their features"
    )

    def check_together(self) -> None:
        """Compares values with each other; each method's schema extends it.

        Raises:
          UserError: values that are valid alone but not together.
        """
        for pattern, spec in self.sharding:
            for axis in () if spec == "fsdp" else spec:
                if axis is not None and axis not in self.mesh:
                    raise UserError(
                        f"config.sharding: the rule {pattern!r} names the axis {axis!r}; config.mesh has "
                        f"{', '.join(self.mesh)}"
                    )
