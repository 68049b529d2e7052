"""Monitoring: what was measured over the last hour or day, as charts with the tables behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from howdah.core.samples import SERIES, Series, Span
from howdah.phrase import Phrase, say
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.visit import Given, Shown, Visit

_UNITS: Mapping[str, Phrase] = {"%": say("%"), "ms": say("ms"), "/s": say("/s")}
_SHARES = ("cache", "tls")  # of a whole; the processor's percents are of one core, and may be more than a hundred


@dataclass(frozen=True)
class Chart:
    """One chart: its lines, and the numbers of its table."""

    key: str
    title: str
    unit: str
    unit_said: str
    top: int  # of the axis, where the numbers have one; 0 where they have none
    lines: tuple[tuple[str, str], ...]  # key of the sample, and its name
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Monitoring:
    """Every chart, for a span of time."""

    name: str
    span: str
    charts: tuple[Chart, ...]
    source: str
    sizes: tuple[str, ...]  # the names of bytes, kilobytes and so on
    count: int


def monitoring(visit: Visit) -> Shown:
    """Show the charts."""
    seen, top = head(visit)
    want = seen.instance
    span: Span = "day" if visit.query.get("span") == "day" else "hour"
    kept = visit.desk.samples.over(want.id, span)
    charts = tuple(_chart(visit, each, kept) for each in SERIES if want.pooler is not None or not each.pooled)
    source = f"{urls.tab(want.name, 'monitoring')}/samples.json?span={span}"
    page = Monitoring(want.name, span, charts, source, visit.say.size_names, len(kept))
    return Shown("monitoring.html", page, say("Monitoring"), tab="monitoring", head=top)


def _chart(visit: Visit, series: Series, kept: tuple[dict[str, float], ...]) -> Chart:
    every = max(len(kept) // 12, 1)
    rows = tuple(
        (visit.say.moment(one["at"]), visit.say.iso(one["at"]), tuple(_value(visit, series, one.get(key)) for key, _ in series.lines))
        for one in reversed(kept[::-every][:12])
    )
    return Chart(
        key=series.key,
        title=visit.say(series.title),
        unit=series.unit,
        unit_said=visit.say(_UNITS[series.unit]) if series.unit in _UNITS else "",
        top=100 if series.key in _SHARES else 0,
        lines=tuple((key, visit.say(name)) for key, name in series.lines),
        rows=rows,
    )


def _value(visit: Visit, series: Series, value: float | None) -> str:
    return visit.say.size(value) if series.unit == "bytes" else visit.say.number(value, 0 if value is None or value == int(value) else 1)


def samples(visit: Visit) -> Given:
    """Give what the charts are drawn from."""
    want = visit.service.store.find(visit.name)
    kept = visit.desk.samples.over(want.id, "day" if visit.query.get("span") == "day" else "hour")
    kept = _with_holes(kept)
    keys = ["at", *(key for series in SERIES for key, _ in series.lines)]
    return Given(json.dumps({key: [one.get(key) for one in kept] for key in keys}).encode(), "application/json")


def _with_holes(kept: tuple[dict[str, float], ...]) -> tuple[dict[str, float], ...]:
    """Return samples with an empty one wherever nobody measured for a while: no line leads across it."""
    gaps = sorted(later["at"] - earlier["at"] for earlier, later in pairwise(kept))
    usual = max(gaps[len(gaps) // 2], 20.0) if gaps else 0.0
    made = list(kept[:1])
    for earlier, later in pairwise(kept):
        if later["at"] - earlier["at"] > 3 * usual:
            made.append({"at": earlier["at"] + usual})
        made.append(later)
    return tuple(made)
