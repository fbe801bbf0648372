"""Regions: how well an encoder's heatmaps match the true parts of a face, and themselves when the face is mirrored."""

import cv2
import numpy as np
from pydantic import model_validator

from facejax.config_schema.fields import Names, Text, key
from facejax.errors import UserError
from facejax.evaluation.protocols.protocol import Outcome, Protocol, Settings, Task
from facejax.evaluation.statistics import average, mean

KIND = "heatmaps"  # [N, 2, h, w, Q]: of an image, and of its mirror image, mirrored back


class Regions(Settings):
    """Each true region is compared with the heatmaps' region that matches it best."""

    label: Text = key("field of the records: an image whose values are the true regions, 0 for the background")
    names: Names = key("names of the true regions from 0 on; given, each has its metric, such as iou_nose", default=())

    def splits(self) -> dict[str, set[str]]:
        """The true regions of the test split."""
        return {self.test_split: {self.label, self.groups} - {None}}

    @model_validator(mode="before")
    @classmethod
    def _heatmaps(cls, values):
        return {**values, "kind": KIND}


def regions(task: Task) -> Outcome:
    """mean_iou, the mean over true regions of the best intersection over union; view_agreement, the fraction of cells
    whose region is the same in the mirror image.

    Intersections and unions are summed over the images, so that a region which an image does not show costs nothing.
    Heatmaps are enlarged bilinearly to the size of the true regions; the largest decides.
    """
    true, maps = task.test.fields[task.settings.label], task.test.features
    if true.ndim < 3 or not np.issubdtype(true.dtype, np.integer):
        raise UserError(
            f"{task.key}: '{task.settings.label}' is {true.dtype} {list(true.shape[1:])}, no map of regions"
        )
    true = true.reshape(true.shape[:3])
    present = np.setdiff1d(np.unique(true), [0])
    size, count = true.shape[1:], maps.shape[-1]
    overlap, agreement = np.zeros((len(true), len(present), count)), np.zeros(len(true))
    told, truth = np.zeros((len(true), count)), np.zeros((len(true), len(present)))
    for image, (own, mirrored) in enumerate(maps):
        agreement[image] = (own.argmax(-1) == mirrored.argmax(-1)).mean()
        enlarged = cv2.resize(own, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, count)
        found = enlarged.argmax(-1)
        told[image] = np.bincount(found.ravel(), minlength=count)
        for row, region in enumerate(present):
            overlap[image, row] = np.bincount(found[true[image] == region], minlength=count)
        truth[image] = [(true[image] == region).sum() for region in present]

    def iou(row):
        def statistic(counts):
            common = counts @ overlap[:, row]
            union = counts @ told + (counts @ truth[:, row])[:, None] - common
            best = np.divide(common, union, out=np.zeros_like(common), where=union > 0).max(1)
            return np.where(counts @ truth[:, row] > 0, best, np.nan)

        return statistic

    each = [iou(row) for row in range(len(present))]
    found = {"mean_iou": average(each), "view_agreement": mean(agreement)}
    names = task.settings.names
    named = {f"iou_{names[region]}": one for region, one in zip(present, each, strict=True) if region < len(names)}
    return Outcome.of_test_images(task, found | named)


REGIONS = Protocol(regions, Regions)
