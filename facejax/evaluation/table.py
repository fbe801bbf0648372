"""The table of an evaluation: encoders next to the features they must beat, with intervals and a summary in words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from facejax.evaluation import bootstrap
from facejax.evaluation.bootstrap import Estimate
from facejax.evaluation.protocols import higher_is_better
from facejax.evaluation.protocols.protocol import Curve

EXPLANATION = (
    "±: half of the interval that holds 95 % of the metric's values when {unit} of the test split are drawn again with "
    "replacement ({draws} times); fits on the training split do not change. Columns are compared draw by draw."
)


class Judged(NamedTuple):
    """The result of a column in a task.

    Attributes:
      estimates: by metric.
      draws: by metric, [R]; row r of all columns is of the same draw.
      curve: for the picture.
    """

    estimates: Mapping[str, Estimate]
    draws: Mapping[str, np.ndarray]
    curve: Curve | None = None


class TaskResult(NamedTuple):
    """All columns of a task.

    Attributes:
      name: of the task.
      protocol: how it was measured.
      drawn: what was drawn for the intervals, with its number: "59 people".
      columns: by name, encoders first.
      floors: names of the columns that are not trained.
      headlines: the metrics of the summary in words.
    """

    name: str
    protocol: str
    drawn: str
    columns: Mapping[str, Judged]
    floors: Sequence[str]
    headlines: Sequence[str]

    @property
    def metrics(self) -> list[str]:
        """Those of all columns, in order."""
        return list(dict.fromkeys(metric for judged in self.columns.values() for metric in judged.estimates))


class Difference(NamedTuple):
    """By how much one column is better than another, above 0, in the metric's unit."""

    value: float
    low: float
    high: float

    @property
    def within_error(self) -> bool:
        """Whether the interval contains 0."""
        return not (self.low > 0 or self.high < 0)


def difference(result: TaskResult, metric: str, one: str, other: str) -> Difference:
    """How much better one column is than another, and the interval of that over common draws."""
    sign = 1 if higher_is_better(metric) else -1
    first, second = (result.columns[name] for name in (one, other))
    gap = sign * (first.estimates[metric].value - second.estimates[metric].value)
    return Difference(gap, *bootstrap.interval(sign * (first.draws[metric] - second.draws[metric])))


def best(result: TaskResult, metric: str, names: Sequence[str]) -> str | None:
    """The column with the best value among those that have the metric."""
    sign = 1 if higher_is_better(metric) else -1
    values = {name: result.columns[name].estimates[metric].value for name in names if _has(result, name, metric)}
    return max(values, key=lambda name: sign * values[name]) if values else None


def _has(result: TaskResult, name: str, metric: str) -> bool:
    estimate = result.columns[name].estimates.get(metric)
    return estimate is not None and not np.isnan(estimate.value)


def in_words(result: TaskResult, metric: str) -> str:
    """Each encoder compared with the best floor, and encoders with each other."""
    encoders = [name for name in result.columns if name not in result.floors and _has(result, name, metric)]
    floor, parts = best(result, metric, result.floors), []
    for name in encoders if floor else ():
        gap = difference(result, metric, name, floor)
        size = f"{number(metric, abs(gap.value))} ±{number(metric, (gap.high - gap.low) / 2)}"
        if gap.within_error:
            parts.append(f"{name} differs from {floor} within the error")
        else:
            parts.append(f"{name} {'beats' if gap.value > 0 else 'loses to'} {floor}, the best floor, by {size}")
    if len(encoders) > 1:
        first = best(result, metric, encoders)
        others = [name for name in encoders if name != first]
        close = [name for name in others if difference(result, metric, first, name).within_error]
        beaten = [name for name in others if name not in close]
        if beaten:
            parts.append(f"{first} is better than {_listed(beaten)}")
        if close:
            parts.append(f"{first} and {_listed(close)} differ within the error")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def number(metric: str, value: float) -> str:
    """Errors with 2 decimals, fractions with 3."""
    if np.isnan(value):
        return "-"
    return f"{value:.{2 if metric.startswith('mae') else 3}f}"


def format_table(results: Sequence[TaskResult], draws: int) -> str:
    """Plain text: a block for each task, then an explanation of the numbers."""
    blocks = [_block(result) for result in results]
    units = sorted({result.drawn.split(" ", 1)[1] for result in results})
    return "\n\n".join([*blocks, EXPLANATION.format(unit=" or ".join(units), draws=draws)])


def _block(result: TaskResult) -> str:
    cells = [("", *result.columns)]
    for metric in result.metrics:
        shown = [judged.estimates.get(metric) for judged in result.columns.values()]
        name = metric if higher_is_better(metric) else f"{metric} (lower is better)"
        cells.append((name, *(_cell(metric, estimate) for estimate in shown)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    told = [(metric, in_words(result, metric)) for metric in result.headlines]
    words = [f"{metric}: {sentence}." for metric, sentence in told if sentence]
    return "\n".join([f"{result.name}: {result.protocol}, {result.drawn}", *lines, *words])


def _cell(metric: str, estimate: Estimate | None) -> str:
    if estimate is None or np.isnan(estimate.value):
        return "-"
    return f"{number(metric, estimate.value)} ±{number(metric, estimate.error)}"


def as_json(result: TaskResult) -> dict:
    """All numbers of a task, NaN as null."""
    return {
        "protocol": result.protocol,
        "drawn": result.drawn,
        "floors": list(result.floors),
        "metrics": {
            metric: {
                "higher_is_better": higher_is_better(metric),
                "columns": {
                    name: _fields(judged.estimates[metric])
                    for name, judged in result.columns.items()
                    if metric in judged.estimates
                },
                "in_words": in_words(result, metric),
            }
            for metric in result.metrics
        },
    }


def _fields(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in estimate._asdict().items()}
