"""The keys of methods that train something on top of an encoder, or find landmarks."""

from typing import Literal

from facejax.config_schema.fields import (
    Count,
    Fraction,
    Milestones,
    NonNegative,
    Positive,
    PositiveCount,
    Probability,
    Rate,
    Section,
    Source,
    Switch,
    Text,
    Unit,
    Widths,
    key,
)
from facejax.config_schema.methods import (
    Erasing,
    Jitter,
    Normalized,
    PartData,
    RecognitionTransformer,
    check_warmup,
    require_source,
)
from facejax.data import landmark_augmentation
from facejax.data.pipeline import ORIGINS
from facejax.errors import UserError
from facejax.models import resnet


class ResNet(Section):
    """A residual network."""

    variant: Literal[*resnet.VARIANTS] = key("the network")
    width: PositiveCount = key("channels of its first stage; 64 is the published network")
    output_stride: Literal[*resnet.OUTPUT_STRIDES] = key("pixels a cell of its grid")


class OnEncoder(Normalized):
    """What is trained on top of an encoder."""

    resnet: ResNet | None = key("the encoder, a residual network; or there is `transformer`", default=None)
    transformer: RecognitionTransformer | None = key(
        "the encoder, a face transformer; or there is `resnet`", default=None
    )
    initialize_from: Source = key("workdir or official checkpoint with the encoder; 'random' for random weights")

    def check_encoder(self) -> None:
        """One encoder of two kinds, patches that fit, initial weights unless they are to be random."""
        if (self.resnet is None) == (self.transformer is None):
            raise UserError("config.resnet and config.transformer: there must be one of the two groups of keys")
        if self.transformer:
            self.transformer.check_in(self.image_size)
        require_source("config.initialize_from", self.initialize_from, "an encoder")


class ClassData(PartData):
    """Labelled records to train on."""

    label: Text = key("field of the records with the class, an integer, or the attributes, zeros and ones")
    balanced: Switch = key("draw every class as often as any other, with replacement")


class TunedHead(Section):
    """The head on the encoder."""

    targets: Literal["classes", "attributes"] = key("what the label is: one of several classes, or several attributes")
    num_classes: PositiveCount = key("number of classes or of attributes")
    hidden_dims: Widths = key(
        "widths of the hidden layers, each with batch norm, dropout and ReLU; (): one linear layer"
    )
    dropout: Rate = key("dropout rate of the hidden layers")


class Moved(Jitter):
    """A view of an image that is whole."""

    flip: Probability = key("probability of a left-right flip")
    shift: Unit = key("largest shift along each axis, over the side of the image")
    shift_probability: Probability = key("probability of a shift")
    rotation: NonNegative = key("largest angle of a rotation, degrees")
    rotation_probability: Probability = key("probability of a rotation")


class PartAdamW(Section):
    """AdamW with a rate for the encoder and one for the head."""

    learning_rate: NonNegative = key(
        "largest learning rate of the encoder, at the end of the warm-up; 0: it stays as it is"
    )
    head_learning_rate: Positive = key("largest learning rate of the head")
    final_learning_rate: NonNegative = key("learning rate after the last step")
    warmup_epochs: Count = key("epochs in which the learning rates rise from 0")
    weight_decay: NonNegative = key("weight decay, of biases and norms too")


class Finetune(OnEncoder):
    """Fine-tuning: an encoder learns to tell classes or attributes."""

    method: Literal["finetune"] = key("what is learned")
    data: ClassData = key("labelled records to train on")
    view: Moved = key("random flip, colours, shift and rotation of an image")
    erasing: Erasing = key("random erasing of the normalised image")
    classifier: TunedHead = key("the head on the encoder")
    optimizer: PartAdamW = key("the optimizer")

    def check_together(self) -> None:
        """An encoder, a warm-up that ends, classes that can be balanced."""
        super().check_together()
        self.check_encoder()
        check_warmup(self.optimizer.warmup_epochs, self.epochs)
        if self.classifier.targets == "classes" and self.classifier.num_classes < 2:
            raise UserError("config.classifier.num_classes = 1: must be the number of classes, 2 or more")
        if self.data.balanced and self.classifier.targets != "classes":
            raise UserError("config.data.balanced = True: attributes are no classes that could be drawn equally often")


class Landmarks(Section):
    """Annotated points."""

    field: Text = key("field of the records with the points, [P, 2], x and y in pixels")
    points: Literal[*landmark_augmentation.MIRRORED] = key("the data set in whose order they are")
    edges: Switch = key("maps of facial edges too, which the landmarks' heatmaps attend to")
    origin: Literal[*ORIGINS] = key("what (0, 0) is: the centre of the first pixel or the image's corner")


class Placed(Section):
    """How a face lies in a view."""

    side: Fraction = key("side of the square in the middle of an image that the network sees, over the shorter side")
    flip: Probability = key("probability of a left-right flip")
    shift: NonNegative = key("standard deviation of a random shift, over the side of the view")
    rotation: NonNegative = key("standard deviation of a random rotation, degrees")
    scale: NonNegative = key("standard deviation of a random scale, around 1")


class Disturbed(Section):
    """What is done to the pixels of a view."""

    occlusion: Probability = key("probability of a black rectangle")
    blur: Probability = key("probability of a blur")
    gamma: Probability = key("probability that an image is made darker or lighter")
    noise: Probability = key("probability of noise")
    grey: Probability = key("probability that an image loses its colours")


class Hourglass(Section):
    """STAR's stacked hourglass."""

    width: PositiveCount = key("channels; 256 is the published network")
    num_stacks: PositiveCount = key("hourglasses, one after the other")
    num_levels: PositiveCount = key("halvings within an hourglass")
    stem_width: PositiveCount = key("channels of the layers before them; 128 is the published network")


class Deconvolution(Section):
    """A head on the grid of an encoder."""

    width: PositiveCount = key("channels of the deconvolutions")
    backbone_factor: NonNegative = key("learning rate of the encoder over that of the head")


class AlignmentLoss(Section):
    """STAR's losses."""

    distance: Literal["smooth_l1", "l1", "l2"] = key("measure of an error along each axis of its ambiguity")
    restriction_weight: NonNegative = key("weight of the heatmaps' variances")
    map_weight: NonNegative = key("weight of the adaptive wing loss of the maps of points and edges")


class StepAdam(Section):
    """Adam with a rate that falls in steps."""

    learning_rate: Positive = key("learning rate at first")
    milestones: Milestones = key("epochs after which it falls")
    decay: Unit = key("what it is multiplied by then")


class Average(Section):
    """The average of the network that is evaluated."""

    half_life: Positive = key("images after which an old state has half its weight in the average")


class Alignment(OnEncoder):
    """Alignment: landmarks of a face as means of heatmaps, by STAR's stacked hourglass or a head on an encoder."""

    method: Literal["alignment"] = key("what is learned")
    landmarks: Landmarks = key("annotated points")
    view: Placed = key("how a face lies in a view")
    disturb: Disturbed = key("what is done to the pixels of a view")
    hourglass: Hourglass | None = key("the network, STAR's; or there is `deconvolution`", default=None)
    deconvolution: Deconvolution | None = key(
        "the network, deconvolutions on the grid of `resnet` or `transformer`; or there is `hourglass`", default=None
    )
    loss: AlignmentLoss = key("the losses")
    optimizer: StepAdam = key("the optimizer")
    average: Average = key("the average of the network that is evaluated")

    def check_together(self) -> None:
        """One network of two kinds, an image that its grids divide, initial weights unless they are to be random."""
        super().check_together()
        if (self.hourglass is None) == (self.deconvolution is None):
            raise UserError("config.hourglass and config.deconvolution: there must be one of the two groups of keys")
        if self.deconvolution:
            self.check_encoder()
            if self.transformer and self.transformer.landmarks:
                raise UserError("config.transformer.landmarks = True: patches around landmarks make no grid; use False")
            multiple = self.resnet.output_stride if self.resnet else self.transformer.patch_size
        else:
            if self.resnet or self.transformer:
                raise UserError(
                    "config.hourglass: the hourglass has no encoder; leave out config.resnet and .transformer"
                )
            require_source("config.initialize_from", self.initialize_from, "a stacked hourglass")
            multiple = 4 * 2**self.hourglass.num_levels
        if multiple % 4 or multiple & (multiple - 1) or self.image_size % multiple:
            raise UserError(
                f"config.image_size = {self.image_size}: must be a multiple of {multiple}, a power of two from 4 on, "
                "into which the network divides it"
            )
