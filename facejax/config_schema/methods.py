"""The keys that each method reads, and which values do not go together."""

import math
from typing import Literal

from facejax.config_schema.experiment import Data, Experiment, LabelledData
from facejax.config_schema.fields import (
    Color,
    Count,
    Deviation,
    Epochs,
    Fraction,
    Fractions,
    Names,
    NonNegative,
    NonNegativePair,
    OddCount,
    Positive,
    PositiveCount,
    Probability,
    Radii,
    Rate,
    Ratios,
    Section,
    Source,
    Strengths,
    Switch,
    Text,
    Unit,
    key,
)
from facejax.data import crops
from facejax.errors import UserError
from facejax.models import fvit, landmarks, patches, resnet
from facejax.models.pcl import SMALLEST_IMAGE
from facejax.optimizers import EXCLUSIONS, WITHOUT_GRADIENT


class Normalized(Experiment):
    """Keys of methods that draw batches from all records and normalise images."""

    mean: Color = key("mean of each channel, in [0, 1], that is subtracted from an image")
    std: Deviation = key("standard deviation of each channel, by which an image is then divided")
    min_steps_per_epoch: Count = key(
        "minimum number of steps per epoch, which then passes over a small set several times", default=0
    )


class Crop(Section):
    """Geometry of a view."""

    crop_scale: Fractions = key("smallest and largest fraction of the area of a random resized crop")
    flip: Probability = key("probability of a left-right flip")


class Jitter(Section):
    """Random colours of a view."""

    jitter: Strengths = key("strength of random changes of brightness, contrast, saturation and hue")
    jitter_probability: Probability = key("probability of these changes")


class PlainView(Jitter, Crop):
    """A random view of an image, with plain colour changes."""


class View(PlainView):
    """A random view of an image."""

    grey_probability: Probability = key("probability that an image loses its colours")
    blur_radius: Radii = key("smallest and largest standard deviation of the Gaussian blur, pixels")
    blur_probability: Probability = key("probability of a blur")
    solarize_probability: Probability = key("probability that bright pixels are inverted")


# --- FRA


class BYOLModel(Section):
    """BYOL's network."""

    backbone: Literal[*resnet.VARIANTS] = key("residual network that encodes an image")
    width: PositiveCount = key("channels of the backbone's first stage; 64 is the published network")
    output_stride: Literal[*resnet.OUTPUT_STRIDES] = key("pixels per cell of the backbone's grid")
    embedding_dim: PositiveCount = key("length of the embeddings that are compared")
    hidden_dim: PositiveCount = key("hidden width of projectors and predictors")


class FRAModel(BYOLModel):
    """FRA's network; it finds regions on the backbone's grid."""

    num_regions: PositiveCount = key("number of facial regions")
    decoder_layers: PositiveCount = key("layers of the transformer decoder that makes mask embeddings")
    decoder_heads: PositiveCount = key("attention heads of that decoder")
    dropout: Rate = key("dropout rate of that decoder")
    heatmap_temperature: Positive = key("temperature of the softmax over regions that makes the heatmaps")
    prototype_momentum: Unit = key("fraction of the region prototypes that a step keeps")


class FRALoss(Section):
    """FRA's losses."""

    instance_weight: NonNegative = key("weight of the agreement of whole views")
    region_weight: NonNegative = key("weight of the agreement of regions")
    cluster_weight: NonNegative = key("weight of the clustering of grid cells")
    decorrelation_weight: NonNegative = key("weight, within the regional loss, of the decorrelation of regions")
    student_temperature: Positive = key("temperature of the student's assignment of cells to regions")
    teacher_temperature: Positive = key("temperature of the teacher's assignment of cells to regions")
    sinkhorn_iterations: Count = key("iterations that balance the teacher's assignment")
    entropy_weight: NonNegative = key("weight, within the clustering loss, of the entropy of the mean assignment")


class LARS(Section):
    """LARS with a warm-up and a cosine."""

    learning_rate: Positive = key("largest learning rate, at the end of the warm-up")
    warmup_epochs: Count = key("epochs in which the learning rate rises")
    momentum: Rate = key("decay of the momentum buffer")
    weight_decay: NonNegative = key("L2 decay of the parameters that are not excluded")
    trust_coefficient: Positive = key("step length divided by the norm of a parameter")
    exclude: Literal[*EXCLUSIONS] = key(
        "parameters without decay and layer-wise adaptation: those of the official code, or every bias and norm"
    )
    predictor_factor: Positive = key("learning rate of the predictors, divided by that of the other parameters")


class MomentumTarget(Section):
    """A target network, the moving average of the online network."""

    momentum: Rate = key("fraction of the target that a step keeps at first; it rises to 1 along a cosine")
    target_statistics: Literal["own", "online"] = key(
        "batch norm of the target: its own statistics, in training mode, or an average of the online network's (EMAN)"
    )


class PartData(Data):
    """Records to train on, or a fraction of them."""

    fraction: Fraction = key("fraction of the records to train on, drawn at random")


class TwoViews(Normalized):
    """Keys of BYOL and its family."""

    data: PartData = key("records to train on")
    view1: View = key("first random view of an image")
    view2: View = key("second random view of an image")
    optimizer: LARS = key("the optimizer")
    ema: MomentumTarget = key("the target network, an average of the online network")


class BYOL(TwoViews):
    """BYOL: two views of a face agree, as a whole."""

    method: Literal["byol"] = key("what is learned")
    model: BYOLModel = key("the network")


class FRA(TwoViews):
    """FRA: two views of a face agree, as a whole and region by region."""

    method: Literal["fra"] = key("what is learned")
    model: FRAModel = key("the network")
    loss: FRALoss = key("the losses")

    def check_together(self) -> None:
        """Checks the size of the grid and the widths that must divide."""
        super().check_together()
        model = self.model
        grid = math.ceil(self.image_size / model.output_stride)
        if grid < 2:
            raise UserError(
                f"config.image_size = {self.image_size}: {model.backbone} makes a grid of {grid}x{grid} cells of it; "
                f"at least 2x2 are needed, from {model.output_stride + 1} px on"
            )
        if model.embedding_dim % 4 or model.embedding_dim % model.decoder_heads:
            raise UserError(
                f"config.model.embedding_dim = {model.embedding_dim}: must be a multiple of 4 and of "
                f"config.model.decoder_heads ({model.decoder_heads})"
            )


# --- PCL and SimCLR


class PCLData(Data):
    """Records that are drawn in groups."""

    hierarchy: Names = key(
        "fields that group the records, outermost first: an item is an identity, of which a random video and then a "
        "random frame is drawn; (): every record is an item"
    )


class Batches(Section):
    """Records of PCL's three updates."""

    decoder: Count = key("records per step for the update of the decoder; 0 leaves it out")
    face: Count = key("records per step for the contrast of faces; 0 leaves it out")
    pose: Count = key("records per step for the contrast of poses; 0 leaves it out")


class FaceBatches(Section):
    """Records of SimCLR's only update."""

    face: PositiveCount = key("records per step for the contrast of faces")


class PCLAugmentation(Jitter):
    """Colours and sharpness of PCL's views."""

    grey_probability: Probability = key("probability that an image loses its colours")
    blur_radius: Radii = key("smallest and largest standard deviation of the Gaussian blur, pixels")
    blur_taps: OddCount = key("length of the blur's kernel, pixels")
    blur_padding: Literal["edge", "reflect"] = key("how the image continues beyond its edge for the blur")
    blur_probability: Probability = key("probability of a blur")
    gradient_probability: Probability = key("probability that an image is replaced by the magnitude of its gradient")


class PCLModel(Section):
    """PCL's network."""

    width: PositiveCount = key("channels of the trunk's first layers; 64 is the published network")
    hidden_dim: PositiveCount = key("hidden width of the projections")
    projection_dim: PositiveCount = key("length of a projection, which the contrast compares")
    decoder_size: PositiveCount = key("side of the decoded image, pixels, a power of two from 4 on")


class ContrastLoss(Section):
    """Keys that PCL's and SimCLR's losses share."""

    temperature: Positive = key("temperature of the contrasts")
    dynamic_weights: Switch = key("weight the contrasts by how fast they fall, from the third epoch on; otherwise by 1")


class PCLLoss(ContrastLoss):
    """PCL's losses."""

    noise: NonNegative = key("standard deviation of the noise on the images that the decoder reconstructs")
    mixing: Positive = key("parameter, above 0.5, of the beta distribution that mixes negatives in pairs")
    pose_negatives: PositiveCount = key("augmentations of each mirror image, the negatives of a pose")
    negatives_of: Literal["own_image", "all_images"] = key(
        "which mirror images a pose is contrasted with: that of its own image, or those of all, as in the official code"
    )


class PCLAdam(Section):
    """Adam for each update in turn."""

    learning_rate: Positive = key("learning rate at the start; it falls along a cosine")
    weight_decay: NonNegative = key("L2 decay")
    without_gradient: Literal[*WITHOUT_GRADIENT] = key(
        "what happens to a part of the network without gradient in an update: nothing, or decay as in PyTorch 1"
    )


class Contrast(Experiment):
    """Keys that PCL and SimCLR share."""

    data: PCLData = key("records to train on")
    augmentation: PCLAugmentation = key("random colours and sharpness of the views of both contrasts")
    model: PCLModel = key("the network")
    optimizer: PCLAdam = key("the optimizer")

    def check_together(self) -> None:
        """Checks that the records fit the batch and that the network can halve an image four times."""
        super().check_together()
        sizes = self.batches.model_dump()
        if sizes["face"] == 1:
            raise UserError("config.batches.face = 1: a single image has no negatives; at least 2 are needed")
        if not any(sizes.values()):
            raise UserError("config.batches: every update is left out; at least one needs records")
        if sum(sizes.values()) > self.batch_size:
            raise UserError(
                f"config.batch_size = {self.batch_size}: fewer records than the {sum(sizes.values())} of "
                f"config.batches ({', '.join(f'{name} {size}' for name, size in sizes.items())})"
            )
        if self.image_size < SMALLEST_IMAGE:
            raise UserError(
                f"config.image_size = {self.image_size}: too small for the network, which halves it four times; at "
                f"least {SMALLEST_IMAGE} px are needed"
            )
        size = self.model.decoder_size
        if size < 4 or size & (size - 1):
            raise UserError(f"config.model.decoder_size = {size}: must be a power of two, 4 or more")


class PCL(Contrast):
    """PCL: a decoder that swaps pose and identity separates them, and each has a contrastive loss."""

    method: Literal["pcl"] = key("what is learned")
    decoder_warmup_epochs: Count = key("epochs at the start in which only the decoder's update is made")
    batches: Batches = key("records of each update of a step")
    loss: PCLLoss = key("the losses")

    def check_together(self) -> None:
        """Checks the mixing, and that there is a decoder to warm up."""
        super().check_together()
        if self.loss.mixing <= 0.5:
            raise UserError(f"config.loss.mixing = {self.loss.mixing:g}: must be above 0.5; the paper has 1.6")
        if self.decoder_warmup_epochs and not self.batches.decoder:
            raise UserError(
                f"config.decoder_warmup_epochs = {self.decoder_warmup_epochs}: there is no decoder to warm up, since "
                "config.batches.decoder = 0"
            )


class SimCLR(Contrast):
    """SimCLR, PCL's baseline: two views of a face agree, contrasted with the other faces of the batch."""

    method: Literal["simclr"] = key("what is learned")
    batches: FaceBatches = key("records of the only update of a step")
    loss: ContrastLoss = key("the loss")
    view: Crop = key("random crop and flip of both views")


# --- LAFS and recognition


class FaceTransformer(Section):
    """A transformer on patches of a face."""

    size: Literal[*fvit.SIZES] = key("width and depth of the transformer; base is the published network")
    landmarks: Switch = key("cut patches around learned landmarks; otherwise on a regular grid")
    num_points: PositiveCount = key("number of landmarks and patches")
    patch_size: PositiveCount = key("side of a patch, pixels, even")
    geometry: Literal[*patches.GEOMETRIES] = key(
        "how a patch is placed around its landmark: as in the official code, or without its half-pixel shift and "
        "transposition"
    )
    dropout: Rate = key("dropout rate of the transformer")
    stochastic_depth: Rate = key("probability that a residual branch is skipped")

    def check_in(self, image_size: int) -> None:
        """Raises `UserError` for patches that do not fit an image of that size."""
        if self.patch_size % 2:
            raise UserError(f"config.model.patch_size = {self.patch_size}: must be even")
        grid, rest = divmod(image_size, self.patch_size)
        if not self.landmarks and (rest or grid**2 != self.num_points):
            raise UserError(
                f"config.model.num_points = {self.num_points}: without landmarks it must be the number of patches of "
                f"{self.patch_size} px in an image of config.image_size = {image_size} px, {grid**2}"
                + (f"; and {image_size} must be a multiple of {self.patch_size}" if rest else "")
            )


class SizedView(View):
    """A random view with its own size and resampling method."""

    size: PositiveCount = key("side of the view, pixels")
    method: Literal[*crops.FILTERS] = key("how the crop is resampled")


class LandmarkAugmentation(Section):
    """LAFS' augmentation of landmarks."""

    noise: NonNegative = key("standard deviation of the noise on every coordinate, pixels")
    local_points: PositiveCount = key("landmarks of a local view")


class Head(Section):
    """DINO's head."""

    num_outputs: PositiveCount = key("outputs that teacher and student agree on")
    hidden_dim: PositiveCount = key("width of the hidden layers")
    bottleneck_dim: PositiveCount = key("length of the normalised vector before the last layer")


class DINOLoss(Section):
    """DINO's loss."""

    student_temperature: Positive = key("temperature of the student's softmax")
    first_teacher_temperature: Positive = key("temperature of the teacher's softmax in the first epoch")
    teacher_temperature: Positive = key("temperature of the teacher's softmax after temperature_epochs")
    temperature_epochs: Count = key("epochs in which the teacher's temperature changes from one to the other")
    center_momentum: Unit = key("fraction of the teacher's center that a step keeps")


class DINOAdamW(Section):
    """AdamW with DINO's schedules."""

    learning_rate: Positive = key("largest learning rate, for a batch of 256; it is scaled with the batch")
    final_learning_rate: NonNegative = key("learning rate after the last step")
    warmup_epochs: Count = key("epochs in which the learning rate rises")
    weight_decay: NonNegativePair = key("weight decay at the first and after the last step")
    max_norm: Positive = key("largest norm of the gradient of each parameter; longer ones are scaled down")
    frozen_epochs: Count = key("epochs in which the head's last layer is frozen")


class LAFSTarget(Section):
    """LAFS' teacher."""

    momentum: Rate = key("fraction of the teacher that a step keeps at first; it rises to 1 along a cosine")
    teacher_mode: Literal["train", "eval"] = key(
        "train: the teacher drops out and skips blocks like the student, as in the official code; eval: it does not"
    )


class LAFS(Normalized):
    """LAFS: patches around landmarks, distilled from teacher to student; DINO-face without landmarks."""

    method: Literal["lafs"] = key("what is learned")
    data: LabelledData = key("records to train on; labels serve only to choose among them")
    global1: SizedView = key("first global view")
    global2: SizedView = key("second global view")
    local: SizedView = key("local views")
    num_local: PositiveCount = key("number of local views per image")
    landmark_network: Source = key(
        "workdir or official checkpoint (.pth) of stage 1; 'random' for a random network; ignored without landmarks"
    )
    landmark_augmentation: LandmarkAugmentation = key("augmentation of the landmarks")
    model: FaceTransformer = key("the transformer")
    head: Head = key("the head that teacher and student agree on")
    loss: DINOLoss = key("the loss")
    optimizer: DINOAdamW = key("the optimizer")
    ema: LAFSTarget = key("the teacher, an average of the student")

    def check_together(self) -> None:
        """Checks sizes of views and numbers of landmarks, and that a landmark network is named where one is needed."""
        super().check_together()
        model = self.model
        model.check_in(self.image_size)
        if not model.landmarks:
            if self.local.size % model.patch_size:
                raise UserError(
                    f"config.local.size = {self.local.size}: must be a multiple of config.model.patch_size "
                    f"({model.patch_size})"
                )
            return
        require_source("config.landmark_network", self.landmark_network, "a landmark network")
        if self.landmark_augmentation.local_points > model.num_points:
            raise UserError(
                f"config.landmark_augmentation.local_points = {self.landmark_augmentation.local_points}: more than "
                f"config.model.num_points ({model.num_points}), for which there are positions"
            )
        for name in ("global1", "global2", "local"):
            size = getattr(self, name).size
            if size != self.image_size:
                raise UserError(
                    f"config.{name}.size = {size}: must be config.image_size ({self.image_size}), which the landmark "
                    "network sees"
                )


def check_warmup(warmup_epochs: int, epochs: int) -> None:
    """Raises `UserError` where the warm-up does not end before the run."""
    if warmup_epochs >= epochs:
        raise UserError(f"config.optimizer.warmup_epochs = {warmup_epochs}: must be less than config.epochs ({epochs})")


def require_source(where: str, source: str, what: str) -> None:
    """Raises `UserError` where no starting weights are named: a random network must be requested explicitly."""
    if not source:
        raise UserError(
            f"{where} is empty: set it to a workdir or an official checkpoint (.pth) with {what}, or to 'random' for "
            "random weights"
        )


class RandAugment(Section):
    """RandAugment."""

    magnitude: NonNegative = key("mean strength, 0 to 10; 0 switches it off")
    magnitude_std: NonNegative = key("standard deviation of the strength")
    num_operations: PositiveCount = key("operations per image")
    probability: Probability = key("probability of each operation")


class Erasing(Section):
    """Random erasing."""

    probability: Probability = key("probability that a rectangle of an image is erased")
    scale: Fractions = key("smallest and largest fraction of the image that it covers")
    ratio: Ratios = key("smallest and largest height / width of the rectangle")
    value: Unit = key("value of the erased pixels")


class Mixup(Section):
    """Mixup."""

    alpha: Positive = key("both parameters of the beta distribution of the weight that an image keeps")
    probability: Probability = key("probability that a batch is mixed")


class RecognitionTransformer(FaceTransformer):
    """A face transformer, trained together with its landmark network."""

    landmark_start: Literal[*landmarks.STARTS] = key(
        "initial landmark network: as in the official code, or with the points on a grid, which short runs need"
    )
    landmark_dropout: Rate = key("dropout rate before the last layer of the landmark network")


class InitializeFrom(Section):
    """Where the initial weights come from."""

    transformer: Source = key("workdir or official checkpoint (.pth) of stage 2; 'random' for random weights")
    landmark_network: Source = key(
        "workdir or official checkpoint (.pth) of stage 1 or 2; 'random' for random weights; ignored without landmarks"
    )


class Classifier(Section):
    """The margin softmax."""

    num_classes: PositiveCount = key("number of identities in the training records, 2 or more")
    loss: Literal["cosface", "arcface"] = key("margin of the softmax")
    scale: Positive = key("factor on the cosines")
    margin: NonNegative = key("margin, subtracted from the cosine or added to the angle of the right class")
    axis: Text = key("axis of the mesh that the classifier's rows are split over")
    sampled: Fraction = key("fraction of the rows that take part in a step (partial FC)")


class RecognitionAdamW(Section):
    """AdamW with groups of parameters."""

    learning_rate: Positive = key("largest learning rate, at the end of the warm-up")
    final_learning_rate: NonNegative = key("learning rate after the last step")
    warmup_epochs: Count = key("epochs in which the learning rate rises")
    groups: Literal["end_to_end", "layer_decay", "layer_decay_official"] = key(
        "which parameters have their own rate and decay: those of the landmark network, or each layer; "
        "layer_decay_official computes the layers' rates and, like the official code, does not apply them"
    )
    weight_decay: NonNegative = key("weight decay of the transformer and the classifier")
    landmark_weight_decay: NonNegative = key("weight decay of the landmark network")
    landmark_factor: NonNegative = key(
        "learning rate of the landmark network, divided by that of the other parameters, for end_to_end"
    )
    landmark_warmup_epochs: Epochs = key(
        "epochs between which the landmark network's learning rate rises from 0; (0, 0): full rate from the start"
    )
    layer_decay: Fraction = key("learning rate of a layer, divided by that of the next, for layer_decay")
    accumulation: PositiveCount = key("number of parts that a batch is computed in, one after the other")


class Supervised(Normalized):
    """Recognition with labels, from random weights or from those of LAFS."""

    method: Literal["supervised"] = key("what is learned")
    data: LabelledData = key("labelled records to train on")
    view: PlainView = key("random crop, flip and colours of an image")
    rand_augment: RandAugment = key("RandAugment")
    erasing: Erasing = key("random erasing")
    mixup: Mixup = key("mixup over the batch")
    model: RecognitionTransformer = key("the transformer and its landmark network")
    initialize_from: InitializeFrom = key("where the initial weights come from")
    classifier: Classifier = key("the margin softmax over identities")
    optimizer: RecognitionAdamW = key("the optimizer")

    def check_together(self) -> None:
        """Checks sizes of patches, parts of a batch and schedules, and that initial weights are named."""
        super().check_together()
        self.model.check_in(self.image_size)
        if self.classifier.num_classes < 2:
            raise UserError("config.classifier.num_classes = 1: must be the number of identities, 2 or more")
        if self.classifier.axis not in self.mesh:
            raise UserError(
                f"config.classifier.axis = {self.classifier.axis!r}: config.mesh has {', '.join(self.mesh)}"
            )
        optimizer = self.optimizer
        if self.batch_size % optimizer.accumulation:
            raise UserError(
                f"config.optimizer.accumulation = {optimizer.accumulation}: must divide config.batch_size "
                f"({self.batch_size})"
            )
        check_warmup(optimizer.warmup_epochs, self.epochs)
        first, last = optimizer.landmark_warmup_epochs
        if first == last != 0:
            raise UserError(
                f"config.optimizer.landmark_warmup_epochs = {(first, last)}: must be an epoch and a later one, or "
                "(0, 0)"
            )
        require_source("config.initialize_from.transformer", self.initialize_from.transformer, "a transformer")
        if self.model.landmarks:
            require_source(
                "config.initialize_from.landmark_network", self.initialize_from.landmark_network, "a landmark network"
            )
