"""The report of a comparison: every figure in the tables, and a page that asks nobody for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from bench import page
from bench.compare import Cell, Results, judged


def cell(arm: str, clients: int, how: str, rate: float, **more: Any) -> Cell:
    given: dict[str, Any] = {"rates": [rate], "latency": [1.0], "p99": [2.0], "front": [0.5], "server": [1.5], **more}
    return Cell(arm, clients, how, **given)


def results() -> Results:
    logins = [cell("direct", 8, "login", 100, server=[10.0], front=[0.0]), cell("howdah", 8, "login", 300), cell("tuned", 8, "login", 310)]
    loads = [cell(arm, size, "simple", rate) for arm, rate in (("direct", 1000), ("howdah", 2600), ("tuned", 2650)) for size in (10, 1000)]
    loads.append(Cell("pgpool", 10, "simple", words="<no> such luck"))
    row = {
        "title": "`restart`",
        "failed": 0,
        "transactions": 9,
        "failed_logins": 0,
        "stalls": [80.0],
        "controls": [9.0],
        "limit": 160.0,
        "within": True,
    }
    found = Results(
        "a machine", {"howdah": "PgBouncer 1.26.1"}, {"tuned": "[pgbouncer]\n; <ours>"}, {"rounds": 1}, logins, loads,
        {"direct": [1300.0], "howdah": [19.0], "tuned": [18.5]}, {}, [{"pgbouncer": "1.26", "rounds": 5, "rows": [row]}],
    )  # fmt: skip
    found.aims = list(judged(found))
    return found


class Asks(HTMLParser):
    """Notes what a page would fetch, and which elements are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing stays open."""


def test_the_page_asks_nobody_for_anything_and_quotes_what_it_was_told() -> None:
    from dataclasses import asdict

    text = page.html(asdict(results()))
    parser = Asks()
    parser.feed(text)
    assert (parser.asked, parser.open) == ([], [])
    assert not re.search(r"https?:|url\(|@import|<script", text)
    assert "default-src 'none'" in text
    assert "&lt;no&gt; such luck" in text and "&lt;ours&gt;" in text and "<no>" not in text
    assert text.count("<polyline") == 8  # throughput and latency, four ways in


def test_the_tables_tell_every_figure_and_what_is_missed() -> None:
    from dataclasses import asdict

    text = page.text(asdict(results()))
    for words in ("| 1000 | simple | Howdah's pooler | 2600 (2600–2600) |", "`restart`", "0 of 9", "PgBouncer 1.26.1", "such luck"):
        assert words in text
    aims = {each["what"]: each for each in results().aims}
    assert aims["simple, 1000 clients: throughput ÷ direct"]["met"]
    assert aims["processor time of the servers for a login ÷ direct"]["met"]
    worse = results()
    worse.loads[1].rates = [1000.0]
    worse.loads[3].rates = [1325.0]
    missed = next(each for each in judged(worse) if each["what"].startswith("simple, 1000 clients: throughput"))
    assert (missed["met"], missed["seen"], missed["missed_by"]) == (False, 1.325, 0.47)
