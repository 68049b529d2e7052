"""What is measured of an instance from time to time, and how it is told: names of numbers, which belong together, in which unit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from howdah.phrase import Phrase, say

Sample = dict[str, float]
Span = Literal["hour", "day"]
SECONDS: Mapping[Span, float] = {"hour": 3600.0, "day": 86_400.0}


class Shelf(Protocol):
    """Where samples lie while nobody measures; a refusal of it stops nothing."""

    def close(self) -> None: ...
    def kept(self, now: float) -> Iterable[tuple[str, Span, Sample]]: ...
    def keep(self, made: Iterable[tuple[str, Span, Sample]], there: Collection[str], now: float) -> None: ...


@dataclass(frozen=True)
class Series:
    """Numbers that stand in one chart."""

    key: str
    title: Phrase
    unit: Literal["", "bytes", "%", "ms", "/s"]
    lines: tuple[tuple[str, Phrase], ...]
    pooled: bool = False  # only where there is a pooler


SERIES: tuple[Series, ...] = (
    Series("connections", say("Connections"), "", (("direct", say("direct")), ("active", say("active")))),
    Series(
        "pooled",
        say("Pooler"),
        "",
        (("clients", say("clients")), ("waiting", say("waiting")), ("servers", say("server connections"))),
        pooled=True,
    ),
    Series("transactions", say("Transactions a second"), "/s", (("tps", say("transactions a second")),)),
    Series("query", say("Query time through the pooler"), "ms", (("query_ms", say("mean")),), pooled=True),
    Series("cache", say("Cache hit share"), "%", (("hits", say("read from memory")),)),
    Series("tls", say("Connections with TLS"), "%", (("tls", say("encrypted")),)),
    Series("size", say("Database size"), "bytes", (("size", say("all databases")),)),
    Series("wal", say("Write-ahead log a second"), "bytes", (("wal", say("written")),)),
    Series("cpu", say("Processor"), "%", (("cpu", say("of one core")),)),
    Series("memory", say("Memory"), "bytes", (("memory", say("of all processes")),)),
)
