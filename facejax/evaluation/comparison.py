"""The table at the end of a run, which compares the trained encoder with the untrained one."""

from collections.abc import Mapping
from typing import NamedTuple

from facejax.evaluation.protocols import higher_is_better

EXPLANATION = "gain: trained - untrained, or the reverse where lower is better (mae, nme, failure_rate); + is better"

NOTHING = "Nothing was evaluated: the images lack the labels that config.evaluations asks for, or have too few."


class Row(NamedTuple):
    """One metric of two encoders."""

    metric: str
    untrained: float | None  # None: not measured, or not defined
    trained: float | None
    gain: float | None  # in the metric's unit; above 0, the trained encoder is better
    better: bool | None


def compare(untrained: Mapping[str, float], trained: Mapping[str, float]) -> list[Row]:
    """Rows of all metrics of either encoder, in order; a metric that only one of them has has no gain."""
    rows = []
    for metric in {**trained, **untrained}:
        before, after = untrained.get(metric), trained.get(metric)
        gain = None if before is None or after is None else (after - before) * (1 if higher_is_better(metric) else -1)
        rows.append(Row(metric, before, after, gain, None if gain is None else gain > 0))
    return rows


def format_number(metric: str, value: float | None, sign: str = "") -> str:
    """Degrees and the like with 2 decimals, fractions with 4; "-" for None. `sign="+"` writes the sign always.

    Example:
      >>> format_number("pose/mae_yaw", 8.123), format_number("identity/top1_accuracy", 0.25, "+")
      ('8.12', '+0.2500')
    """
    if value is None:
        return "-"
    return f"{value:{sign}.{2 if metric.rsplit('/', 1)[-1].startswith('mae') else 4}f}"


def format_table(rows: list[Row]) -> str:
    """Plain text in aligned columns, with an explanation."""
    if not rows:
        return NOTHING
    cells = [("metric", "untrained", "trained", "gain", "better")]
    for row in rows:
        verdict = {True: "yes", False: "no", None: "-"}[row.better]
        values = format_number(row.metric, row.untrained), format_number(row.metric, row.trained)
        cells.append((row.metric, *values, format_number(row.metric, row.gain, "+"), verdict))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*lines, "", EXPLANATION])
