"""What the dashboards share: Grafana's own builders, set as all panels here are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import VizTooltipOptions
from grafana_foundation_sdk.models.common import TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""Named in deploy/grafana/provisioning/datasources."""

SECONDS = "s"
BYTES = "bytes"
SHARE = "percentunit"
PER_SECOND = "ops"
COUNT = "short"


_COLUMNS = 24
"""Grafana's grid."""

Panel = stat.Panel | timeseries.Panel


def new_dashboard(
    uid: str, title: str, description: str, rows: Mapping[str, Sequence[Panel]]
) -> dashboard.Dashboard:
    """A dashboard of the last hour, linked to the others, that nobody edits in the browser.

    rows: panels by the row's title, numbers before lines.
    """
    others = dashboard.DashboardLink("Doorbell").type(DashboardLinkType.DASHBOARDS)
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["doorbell"])
        .link(others.tags(["doorbell"]).keep_time(True))
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
    )
    top = 0
    for name, panels in rows.items():
        board.with_row(dashboard.Row(name).grid_pos(GridPos(h=1, w=_COLUMNS, x=0, y=top)))
        top += 1
        for panel, place in zip(panels, _places(panels, top), strict=True):
            board.with_panel(panel.grid_pos(place))
            top = max(top, place.y + place.h)
    return board


def _places(panels: Sequence[Panel], top: int) -> Iterator[GridPos]:
    """Numbers share a line, and the two halves of each line below it are lines over time."""
    numbers = [panel for panel in panels if isinstance(panel, stat.Panel)]
    width = _COLUMNS // max(1, len(numbers))
    for index in range(len(numbers)):
        yield GridPos(h=4, w=width, x=index * width, y=top)
    below = top + (4 if numbers else 0)
    for index in range(len(panels) - len(numbers)):
        yield GridPos(h=8, w=_COLUMNS // 2, x=index % 2 * _COLUMNS // 2, y=below + index // 2 * 8)


def number(
    title: str, description: str, expr: str, unit: str = COUNT, bad_from: float | None = None
) -> stat.Panel:
    """One number, red from `bad_from` on: where its alert begins to look."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(_thresholds(bad_from))
        .with_target(_query("A", expr, ""))
    )


def lines(
    title: str, description: str, queries: Mapping[str, str], unit: str = COUNT
) -> timeseries.Panel:
    """Lines over time. queries: PromQL by legend; `{{label}}` in a legend gives one line for each of its values."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(8)
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for name, (legend, expr) in zip("ABCDEFGH", queries.items(), strict=False):
        panel.with_target(_query(name, expr, legend))
    return panel


def rate(metric: str, by: str = "", window: str = "$__rate_interval") -> str:
    """The sum of a counter's rate, of each value of the labels in `by`; the usual window follows the time shown."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}[{window}]))"


def quantile(share: float, histogram: str, by: str = "", window: str = "$__rate_interval") -> str:
    """A quantile over all processes; histogram: its name with labels, without `_bucket`."""
    name, brace, labels = histogram.partition("{")
    grouping = f"le, {by}" if by else "le"
    inner = rate(f"{name}_bucket{brace}{labels}", grouping, window)
    return f"histogram_quantile({share}, {inner})"


def _query(name: str, expr: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(name).expr(expr).legend_format(legend).datasource(SOURCE)


def _thresholds(bad_from: float | None) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green" if bad_from is not None else "blue")]
    if bad_from is not None:
        steps.append(Threshold(value=bad_from, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
