"""Bokeh's figures: curves of one or more runs, and the map of the faces."""

from collections.abc import Mapping
from typing import Any

import bokeh.embed
import bokeh.models
import bokeh.plotting
import numpy as np

from facejax.reports.scalars import Curve

# Told apart by colour-blind people, and visible on white and on black; with a dash of its own for each run.
COLORS = ("#2f86c9", "#d55e00", "#009e73", "#b5679b", "#8a7a00", "#7f7f7f")
DASHES = ("solid", "dashed", "dotdash", "dotted")
GREY = "#7c7c7c"  # of axes and numbers: legible on white and on black
MOST_POINTS = 500  # of a curve on the page
CURVE_TOOLTIP = "<div>step @step: @value{0.[0000]a}, @time{%F %H:%M}</div>"  # a line, as several may show
# page.js fills in the columns thumbnail, color and text; Bokeh escapes what stands in place of @NAME.
FACE_TOOLTIP = """
<div class="face-tooltip" style="display: flex; gap: 8px; max-width: 260px">
  <img src="@thumbnail" width="64" height="64" alt="">
  <div style="white-space: pre-line; font-size: 12px">@text</div>
</div>
"""


def color(run: int) -> str:
    """The colour of a run on all charts."""
    return COLORS[run % len(COLORS)]


def curves(by_run: Mapping[int, Curve]) -> dict[str, Any]:
    """A chart of one number over the steps, a line for each run, as JSON for `Bokeh.embed.embed_item`.

    Args:
      by_run: position of a run -> its curve.
    """
    figure = _figure(x_range=bokeh.models.DataRange1d(range_padding=0.02))
    lines = []
    for run, curve in by_run.items():
        shown = np.unique(np.linspace(0, len(curve.steps) - 1, MOST_POINTS).round().astype(int))
        columns = {"step": curve.steps[shown], "value": curve.values[shown], "time": 1000 * curve.times[shown]}
        source = bokeh.models.ColumnDataSource(columns)
        dash = DASHES[run % len(DASHES)]
        lines.append(figure.line("step", "value", source=source, color=color(run), line_width=2, line_dash=dash))
        if len(shown) == 1:
            figure.scatter("step", "value", source=source, color=color(run), size=6)
    hover = bokeh.models.HoverTool(renderers=lines, mode="vline", tooltips=CURVE_TOOLTIP)
    hover.formatters = {"@time": "datetime"}
    figure.add_tools(hover)
    return bokeh.embed.json_item(figure)


def scatter(planes: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The map of the faces, as JSON for `Bokeh.embed.embed_item`; page.js shows one plane, and colours the points.

    Args:
      planes: kind of features -> coordinates [N, 2].
    """
    columns = {f"{xy} {kind}": plane[:, i].astype("f4") for kind, plane in planes.items() for i, xy in enumerate("xy")}
    first = next(iter(planes))
    count = len(planes[first])
    columns |= {xy: columns[f"{xy} {first}"] for xy in "xy"}
    columns |= {"thumbnail": [""] * count, "color": [COLORS[0]] * count, "text": [""] * count}
    figure = _figure(tools="pan,wheel_zoom,reset,tap", toolbar_location="above", match_aspect=True)
    figure.toolbar.logo = None
    figure.toolbar.active_drag = None  # else a finger that scrolls the page moves the map
    figure.xaxis.visible = figure.yaxis.visible = False
    source = bokeh.models.ColumnDataSource(columns)
    look = {"fill_color": "color", "fill_alpha": 0.85, "line_color": GREY, "line_width": 0.5}
    points = figure.scatter("x", "y", source=source, size=9, nonselection_fill_alpha=0.5, **look)
    figure.add_tools(bokeh.models.HoverTool(renderers=[points], tooltips=FACE_TOOLTIP))
    return bokeh.embed.json_item(figure)


def _figure(**settings):
    """Transparent, with grey lines: it suits a page in the light and in the dark."""
    figure = bokeh.plotting.figure(
        sizing_mode="stretch_both",  # page.css says how large
        **{"tools": "", "toolbar_location": None, **settings},
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=8,
    )
    figure.grid.grid_line_color = GREY
    figure.grid.grid_line_alpha = 0.25
    for axis in (*figure.xaxis, *figure.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = axis.major_label_text_color = GREY
        axis.minor_tick_line_color = None
        axis.formatter.use_scientific = False
    for axis in figure.xaxis:
        axis.ticker.desired_num_ticks = 4  # so that five digits fit on a phone
    return figure
