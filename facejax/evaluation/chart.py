"""The picture of a task: the metrics of all columns with their intervals, and their curves, as a PNG."""

import io

import numpy as np

from facejax.evaluation.protocols import higher_is_better
from facejax.evaluation.table import TaskResult
from facejax.pictures import region_colors

INCHES = 3.2  # height and width of a panel


def draw(result: TaskResult) -> bytes:
    """A PNG with a panel for each headline metric and, if there are curves, one for them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and needs a display

    names = list(result.columns)
    curves = {name: judged.curve for name, judged in result.columns.items() if judged.curve is not None}
    panels = len(result.headlines) + bool(curves)
    figure = Figure(figsize=(INCHES * max(panels, 1) + 1.2, INCHES), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(panels, 1), squeeze=False)[0]
    colors = dict(zip(names, region_colors(len(names)) / 255, strict=True))
    for axis, metric in zip(axes, result.headlines, strict=False):
        _metric(axis, result, metric, colors)
    for axis in axes[1 : len(result.headlines)]:
        axis.set_yticklabels([])
    if curves:
        _curves(axes[-1], curves, colors, result.floors)
    figure.suptitle(f"{result.name}: {result.protocol}, {result.drawn}", fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _metric(axis, result: TaskResult, metric: str, colors) -> None:
    """Points with whiskers, one line per column, the first at the top."""
    names = list(result.columns)
    for place, name in enumerate(reversed(names)):
        estimate = result.columns[name].estimates.get(metric)
        if estimate is None or np.isnan(estimate.value):
            continue
        marker = "s" if name in result.floors else "o"
        axis.plot([estimate.low, estimate.high], [place, place], color=colors[name], linewidth=1.5)
        axis.plot(estimate.value, place, marker, color=colors[name])
    axis.set_yticks(range(len(names)), reversed(names), fontsize=7)
    axis.set_ylim(-0.5, len(names) - 0.5)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(metric if higher_is_better(metric) else f"{metric} (lower is better)", fontsize=8)
    axis.grid(axis="x", alpha=0.3)


def _curves(axis, curves, colors, floors) -> None:
    for name, curve in curves.items():
        style = "--" if name in floors else "-"
        axis.plot(curve.x, curve.y, style, color=colors[name], label=name, linewidth=1.2)
    one = next(iter(curves.values()))
    if one.log_x:
        axis.set_xscale("log")
    axis.set_xlabel(one.labels[0], fontsize=7)
    axis.set_ylabel(one.labels[1], fontsize=7)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6)
