"""What a run reads: records, opened and checked before anything is rendered or computed, their order, its batches."""

import importlib.util

import jax
import numpy as np
from absl import logging
from etils import epath

from facejax import paths, sharding
from facejax.data import balanced, embedded, few_shot, hierarchy, labels, pipeline, records
from facejax.errors import UserError

# Data sets of the experiments whose converter has another name than their folder.
CONVERTERS = {"ms1mv3": "mxnet_records", "voxceleb1": "voxceleb", "webface4m": "mxnet_records"}


def converter_hint(folder) -> str:
    """What to run when the records of a data set are not there."""
    name = epath.Path(folder).name
    converter = CONVERTERS.get(name, name)
    if not converter.isidentifier() or importlib.util.find_spec(f"data_prep.{converter}") is None:
        return "docs/data_sets.md tells how data sets are converted"
    return f"convert it first: python -m data_prep.{converter} --source=DIR --out={folder}"


def prepare(config, evaluations, method):
    """Opens all that a run reads, and renders the synthetic faces of it that are not there.

    Nothing is rendered before all else is there and what will be rendered is known to suit the config.

    Args:
      config: the experiment's.
      evaluations: by name.
      method: for the fields that it reads and the classes that it was built for.

    Returns:
      (folder, split) -> records; the training records among them, as `config.data` chooses them; their order.

    Raises:
      UserError: records are not there, too few, damaged, or lack a field; labels are no classes of the method.
    """
    training = (config.data.folder, config.data.split)
    places = {training: "config.data.folder"}
    for name, evaluation in evaluations.items():
        for split in evaluation.splits():
            places.setdefault((evaluation.data, split), f"config.evaluations.{name}.data")
    faces = config.get("synthetic_faces")
    planned = embedded.planned(faces, places)
    skip = config.data.skip_corrupt
    splits = open_splits({place: key for place, key in places.items() if place not in planned}, skip) | planned
    check_fields(evaluations, splits)
    if training not in planned or planned[training].has_labels(label_fields(config)):
        source, order = training_records(config, splits[training], method)
    embedded.render_if_missing(faces, needed={folder for folder, _ in places})
    splits |= open_splits({place: places[place] for place in planned}, skip)
    if training in planned:
        source, order = training_records(config, splits[training], method)
    return splits, source, order


def open_splits(places, skip_corrupt: bool) -> dict[tuple[str, str], records.RecordSource]:
    """(folder, split) -> records.

    Args:
      places: (folder, split) -> key of the config that names the folder.
      skip_corrupt: open a split although a part of it is lost.

    Raises:
      UserError: they are not there, or damaged.
    """
    return {
        (folder, split): records.open_split(
            paths.resolve(folder, key), split, hint=converter_hint(folder), skip_corrupt=skip_corrupt
        )
        for (folder, split), key in places.items()
    }


def check_fields(evaluations, splits) -> None:
    """Raises `UserError` for a field that an evaluation needs and the records lack."""
    for name, evaluation in evaluations.items():
        for split, fields in evaluation.splits().items():
            there = splits[evaluation.data, split]
            missing = sorted(fields - there.features.keys() - {pipeline.FULL_SIZE})
            if missing and not (evaluation.optional and evaluation.label in missing):
                raise UserError(
                    f"config.evaluations.{name}: {there} has no field '{missing[0]}'; it has: "
                    f"{', '.join(sorted(there.features))}"
                )


def label_fields(config) -> set[str]:
    """The fields of the training records by which they are chosen, grouped or classified."""
    label = config.data.get("label")
    return {*config.data.get("hierarchy", ()), *([label] if label else [])}


def training_records(config, source, method):
    """The training records, as `config.data` chooses them, and their order.

    Args:
      config: the experiment's.
      source: all records of the training split.
      method: for the fields that it reads and the classes that it was built for.

    Raises:
      UserError: they lack a field, are too few for a batch, or have labels that are no classes of the method.
    """
    method.check_batch(abstract_batch(config, method, source))
    source = chosen_records(config, source)
    check_labels(
        source,
        method.num_classes,
        needs_every_class=method.needs_every_class,
        skip_corrupt=config.data.skip_corrupt,
    )
    return source, training_order(config, source, method.streams)


def chosen_records(config, source) -> records.RecordSource | few_shot.Subset:
    """The records of a split that `config.data` asks for: all, or some classes and some images of each.

    Raises:
      UserError: the records lack the field that tells the classes, or none would be left.
    """
    data = config.data
    if data.get("images_per_class", 0) or data.get("class_share", 1.0) < 1:
        return few_shot.subset(
            source,
            data.label,
            images_per_class=data.images_per_class,
            class_share=data.class_share,
            class_choice=data.class_choice,
            seed=config.seed,
            skip_corrupt=data.skip_corrupt,
        )
    return few_shot.select(source, data.fraction, seed=config.seed) if data.get("fraction", 1.0) < 1 else source


def check_labels(source, num_classes, *, needs_every_class: bool = False, skip_corrupt: bool) -> None:
    """Compares the labels of the training split with the classes of the method.

    Args:
      source: the training split.
      num_classes: a method's: field -> number of classes.
      needs_every_class: a class without images is an error.
      skip_corrupt: pass over records that cannot be read.

    Raises:
      UserError: a label is no class, or a class has no images where each needs some.
    """
    for field, count in num_classes.items():
        _, (column,) = labels.read(source, (field,), key="config.data.label", skip_corrupt=skip_corrupt)
        there = np.unique(column)
        lowest, highest = int(there[0]), int(there[-1])
        told = f"config.classifier.num_classes = {count} does not fit the labels '{field}' of {source}"
        if lowest < 0:
            raise UserError(f"{told}: they begin at {lowest}, and must count from 0; convert the data again")
        if highest >= count:
            raise UserError(f"{told}: they are 0 to {highest}; set it to {highest + 1}")
        missing = np.setdiff1d(np.arange(count), there)
        if needs_every_class and len(missing):
            raise UserError(f"{told}: no image has the label {missing[0]}; add some, or number the classes anew")
        if highest + 1 < count:
            logging.warning("%s: they are 0 to %d, the other classes have no images", told, highest)


def training_order(config, source, streams) -> pipeline.GlobalShuffle | balanced.BalancedOrder | hierarchy.ItemOrder:
    """Which record stands where in the run.

    A global shuffle; with `config.data.balanced`, classes by turns; or items drawn for each of a method's `streams`.

    Raises:
      UserError: there are fewer records than a batch takes.
    """
    if not streams:
        shuffle = pipeline.GlobalShuffle(
            source, config.batch_size, config.seed, min_steps_per_epoch=config.get("min_steps_per_epoch", 0)
        )
        if not config.data.get("balanced", False):
            return shuffle
        return balanced.BalancedOrder.read(
            source, config.data.label, shuffle, seed=config.seed, skip_corrupt=config.data.skip_corrupt
        )
    items = hierarchy.Hierarchy.read(source, config.data.hierarchy, skip_corrupt=config.data.skip_corrupt)
    return hierarchy.ItemOrder(items, streams=streams, batch_size=config.batch_size, seed=config.seed)


def abstract_batch(config, method, source) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a global batch.

    Raises:
      UserError: the records lack a field of the method's.
    """
    shapes = pipeline.batch_shapes(source, config.batch_size, config.data.image_size, method.fields)
    canonical = jax.dtypes.canonicalize_dtype  # labels are int64 on disk, int32 on devices
    return {name: jax.ShapeDtypeStruct(shape, canonical(dtype)) for name, (shape, dtype) in shapes.items()}


def batches(config, source, order, mesh, fields) -> pipeline.TrainingBatches:
    """Batches on the mesh; their state is what the run has consumed."""
    reading = pipeline.Reading(
        batch_size=config.batch_size // jax.process_count(),
        image_size=config.data.image_size,
        fields=fields,
        skip_corrupt=config.data.skip_corrupt,
        num_workers=config.data.num_workers,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
    )
    return pipeline.TrainingBatches(source, order, reading, sharding.batch_sharding(mesh))
