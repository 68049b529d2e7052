"""What was measured, for people: tables for a terminal, and one page with plots that needs no other file and asks no server."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

Found = Mapping[str, Any]
_COLOURS = {"direct": "#777777", "howdah": "#0b6e4f", "tuned": "#c8553d", "pgpool": "#588b8b"}
_TITLES = {"direct": "PostgreSQL direct", "howdah": "Howdah's pooler", "tuned": "PgBouncer tuned by hand", "pgpool": "pgpool-II"}
_WIDTH, _HEIGHT, _LEFT, _BELOW = 460, 240, 60, 34


# --- tables, the same for both ------------------------------------------------------------------------------------------------------


def _middle(values: Sequence[float], form: str = ".1f") -> str:
    if not values:
        return "–"
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def _tables(found: Found) -> Iterator[tuple[str, list[list[str]]]]:
    yield "Aims", _aims(found)
    yield "Logins: connect, ask once, leave", _logins(found)
    yield "Throughput and latency of short reads", _loads(found)
    memory = [[_TITLES[arm], _middle(kib)] for arm, kib in found["memory"].items()]
    yield "Memory of an idle client", [["way in", "KiB, with the server process that a client has to itself"], *memory]
    if found["create"]:
        made = [[name, _middle(times, ".0f")] for name, times in found["create"].items()]
        yield "Making an instance", [["case", "ms (least–greatest)"], *made]
    for each in found["disruption"]:
        yield f"What changes cost who is connected: PgBouncer {each['pgbouncer']}, {each['rounds']} rounds", _disruption(each)


def _aims(found: Found) -> list[list[str]]:
    rows = [["aim", "wanted", "seen", "met", "of which is known"]]
    for each in found["aims"]:
        wanted = f"{'≥' if each['least'] else '≤'} {each['aim']}"
        rows.append(
            [each["what"], wanted, f"{each['seen']:.2f}", "yes" if each["met"] else f"no, by {100 * each['missed_by']:.0f} %", each["why"]]
        )
    return rows


def _logins(found: Found) -> list[list[str]]:
    rows = [["way in", "logins a second", "ms of the pooler's processor", "ms of PostgreSQL's", "version"]]
    for cell in found["logins"]:
        version = found["versions"].get(cell["arm"], "")
        if cell["words"]:
            rows.append([_TITLES[cell["arm"]], "–", "", cell["words"], version])
        else:
            rows.append(
                [
                    _TITLES[cell["arm"]],
                    _middle(cell["rates"], ".0f"),
                    _middle(cell["front"], ".2f"),
                    _middle(cell["server"], ".2f"),
                    version,
                ]
            )
    return rows


def _loads(found: Found) -> list[list[str]]:
    rows = [["clients", "protocol", "way in", "a second", "mean ms", "p99 ms", "µs of all servers' processor for each"]]
    for cell in found["loads"]:
        start = [str(cell["clients"]), cell["protocol"], _TITLES[cell["arm"]]]
        if cell["words"]:
            rows.append([*start, "–", "", "", cell["words"]])
            continue
        cost = [1000 * (front + server) for front, server in zip(cell["front"], cell["server"], strict=True)]
        rows.append(
            [*start, _middle(cell["rates"], ".0f"), _middle(cell["latency"], ".2f"), _middle(cell["p99"], ".2f"), _middle(cost, ".0f")]
        )
    return rows


def _disruption(each: Found) -> list[list[str]]:
    rows = [["change", "failed transactions", "failed logins", "longest stall ms", "control ms", "limit ms", "within"]]
    for row in each["rows"]:
        counts = [f"{row['failed']} of {row['transactions']}", str(row["failed_logins"])]
        times = [_middle(row["stalls"], ".0f"), _middle(row["controls"], ".0f"), f"{row['limit']:.0f}"]
        rows.append([row["title"], *counts, *times, "yes" if row["within"] else "no"])
    return rows


def text(found: Found) -> str:
    """Return everything in Markdown."""
    parts = [found["surroundings"], ", ".join(f"{name} {value}" for name, value in found["settings"].items())]
    for title, (heads, *rows) in _tables(found):
        lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
        parts.append(f"## {title}\n\n" + "\n".join(lines))
    parts += [f"## Configuration: {_TITLES[arm]}\n\n```\n{told.strip()}\n```" for arm, told in found["configurations"].items()]
    return "\n\n".join(parts)


# --- the page -----------------------------------------------------------------------------------------------------------------------

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Howdah, side by side</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
td, th { border-bottom: 1px solid #ddd; padding: .2rem .7rem .2rem 0; text-align: left; }
pre { background: #f5f5f5; padding: 1rem; overflow: auto; font-size: 12px; } .plots { display: flex; flex-wrap: wrap; gap: 1rem; }
svg { background: #fafafa; } svg text { font-size: 11px; fill: #444; } .no { color: #b00020; font-weight: 600; }
</style></head><body>
<h1>Howdah, side by side</h1>
"""


def html(found: Found) -> str:
    """Return the page."""
    parts = [_HEAD, f"<p>{escape(found['surroundings'])}<br>{escape(str(found['settings']))}</p>"]
    parts += ["<h2>Throughput</h2><p>Short reads a second, by the number of clients.</p><div class=plots>"]
    protocols = dict.fromkeys(cell["protocol"] for cell in found["loads"])
    parts += [_plot(f"{how}, a second", [cell for cell in found["loads"] if cell["protocol"] == how], "rates") for how in protocols]
    parts += ["</div><h2>Latency</h2><p>p99, in milliseconds.</p><div class=plots>"]
    parts += [_plot(f"{how}, p99 ms", [cell for cell in found["loads"] if cell["protocol"] == how], "p99") for how in protocols]
    parts += ["</div><h2>Logins and idle clients</h2><div class=plots>"]
    costs = {cell["arm"]: [f + s for f, s in zip(cell["front"], cell["server"], strict=True)] for cell in found["logins"]}
    parts.append(_bars("logins a second", {cell["arm"]: cell["rates"] for cell in found["logins"]}))
    parts.append(_bars("ms of the servers' processor for a login", costs))
    parts += [_bars("KiB of an idle client", found["memory"]), "</div>"]
    for title, (heads, *rows) in _tables(found):
        parts.append(f"<h2>{escape(title)}</h2>{_table(heads, rows)}")
    parts += [f"<h2>Configuration: {_TITLES[arm]}</h2><pre>{escape(told.strip())}</pre>" for arm, told in found["configurations"].items()]
    return "\n".join([*parts, "</body></html>\n"])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(each)}</th>" for each in heads)
    lines = ("".join(f"<td{' class=no' if cell.startswith('no') else ''}>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _plot(title: str, cells: Sequence[Found], what: str) -> str:
    """Draw a line for each way in, over the number of clients in equal steps, with the spread of the rounds."""
    sizes = sorted({cell["clients"] for cell in cells})
    top = max((max(cell[what]) for cell in cells if cell[what]), default=1.0) or 1.0

    def across(size: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - 20) * (sizes.index(size) + 0.5) / len(sizes)

    def up(value: float) -> float:
        return 24 + (_HEIGHT - 24 - _BELOW) * (1 - value / top)

    parts = [_frame(title, top), *(f'<text x="{across(size):.0f}" y="{_HEIGHT - 18}" text-anchor="middle">{size}</text>' for size in sizes)]
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        own = sorted((cell for cell in cells if cell["arm"] == arm and cell[what]), key=lambda cell: int(cell["clients"]))
        points = [(across(cell["clients"]), up(statistics.median(cell[what]))) for cell in own]
        colour = _COLOURS[arm]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        for cell, (x, y) in zip(own, points, strict=True):
            spread = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up(min(cell[what])):.1f}" y2="{up(max(cell[what])):.1f}" stroke="{colour}"/>'
            parts.append(f'{spread}<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
    return _svg([*parts, *_legend(list(dict.fromkeys(cell["arm"] for cell in cells)))])


def _bars(title: str, values: Mapping[str, Sequence[float]]) -> str:
    """Draw a bar for each way in."""
    known = {arm: statistics.median(each) for arm, each in values.items() if each}
    top = max(known.values(), default=1.0) or 1.0
    parts, room = [_frame(title, top)], (_WIDTH - _LEFT - 20) / max(len(known), 1)
    for number, (arm, value) in enumerate(known.items()):
        height, x = (_HEIGHT - 24 - _BELOW) * value / top, _LEFT + room * number + room * 0.2
        y = _HEIGHT - _BELOW - height
        parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{room * 0.6:.1f}" height="{height:.1f}" fill="{_COLOURS[arm]}"/>')
        parts.append(f'<text x="{x + room * 0.3:.1f}" y="{max(y - 4, 20):.1f}" text-anchor="middle">{value:.3g}</text>')
        parts.append(f'<text x="{x + room * 0.3:.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{arm}</text>')
    return _svg(parts)


def _frame(title: str, top: float) -> str:
    lines = [f'<text x="{_LEFT}" y="14" font-weight="600">{escape(title)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = 24 + (_HEIGHT - 24 - _BELOW) * (1 - share)
        lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{top * share:.4g}</text>')
    return "".join(lines)


def _legend(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        yield f'<text x="{_LEFT + number * 90}" y="{_HEIGHT - 3}" style="fill:{_COLOURS[name]}">● {name}</text>'


def _svg(parts: Sequence[str]) -> str:
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
