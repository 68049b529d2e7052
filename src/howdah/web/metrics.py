"""What Prometheus is told (text format 0.0.4): counts and times, with no names but those of instances, and no secrets.

One pass over what was seen and measured already, and a quick look at each instance; no session is opened for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from howdah import compose
from howdah.core import budget
from howdah.core.operation import Status
from howdah.service.caller import Seen
from howdah.web.desk import Desk

KIND = "text/plain; version=0.0.4"
STATES: tuple[Status, ...] = ("creating", "running", "updating", "stopped", "down", "error", "deleting")
_OUTCOMES = ("waiting", "running", "done", "failed", "withdrawn")


@dataclass(frozen=True)
class Metric:
    """One metric, and what it is."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str


METRICS: Mapping[str, Metric] = {
    each.name: each
    for each in (
        Metric("howdah_rounds_total", "counter", "Quick looks at all instances."),
        Metric("howdah_round_age_seconds", "gauge", "Time since the last quick look."),
        Metric("howdah_quick_look_seconds_total", "counter", "Processor time of quick looks."),
        Metric("howdah_passes_total", "counter", "Full looks, by what came of them."),
        Metric("howdah_pass_seconds_total", "counter", "Time spent in full looks."),
        Metric("howdah_operations", "gauge", "Operations that are remembered, by outcome."),
        Metric("howdah_instance_status", "gauge", "1 for the state that an instance is in."),
        Metric("howdah_instance_wanted", "gauge", "1 where an instance is wanted running."),
        Metric("howdah_instance_up", "gauge", "1 where PostgreSQL answers, and the pooler lives where there is one."),
        Metric("howdah_certificate_seconds_left", "gauge", "Time left of the certificate, as served."),
        Metric("howdah_connections", "gauge", "Direct connections over the network."),
        Metric("howdah_connections_max", "gauge", "Connections that PostgreSQL admits."),
        Metric("howdah_tls_share", "gauge", "Share of connections over the network that are encrypted, 0 to 1."),
        Metric("howdah_pooler_clients", "gauge", "Clients of the pooler."),
        Metric("howdah_pooler_waiting", "gauge", "Clients that wait for a server connection."),
        Metric("howdah_pooler_servers", "gauge", "Server connections of the pooler."),
        Metric("howdah_pooler_query_seconds", "gauge", "Mean time of a query through the pooler, since the measurement before."),
        Metric("howdah_transactions_per_second", "gauge", "Transactions, over all databases."),
        Metric("howdah_cache_hit_share", "gauge", "Share of blocks that were read from memory, 0 to 1."),
        Metric("howdah_database_bytes", "gauge", "Size of all databases."),
        Metric("howdah_disk_free_share", "gauge", "Share of the disk below the data that is free, 0 to 1."),
        Metric("howdah_cpu_share", "gauge", "Processor time of the instance's processes, in cores."),
        Metric("howdah_memory_bytes", "gauge", "Memory of the instance's processes."),
    )
}
_MEASURED = (
    ("howdah_connections", "direct", 1.0),
    ("howdah_tls_share", "tls", 0.01),
    ("howdah_pooler_clients", "clients", 1.0),
    ("howdah_pooler_waiting", "waiting", 1.0),
    ("howdah_pooler_servers", "servers", 1.0),
    ("howdah_pooler_query_seconds", "query_ms", 0.001),
    ("howdah_transactions_per_second", "tps", 1.0),
    ("howdah_cache_hit_share", "hits", 0.01),
    ("howdah_database_bytes", "size", 1.0),
    ("howdah_cpu_share", "cpu", 0.01),
    ("howdah_memory_bytes", "memory", 1.0),
)

Point = tuple[str, dict[str, str], float]


def text(desk: Desk) -> str:
    """Return every metric of this moment."""
    told: dict[str, list[str]] = {name: [] for name in METRICS}
    for name, labels, value in _points(desk):
        told[name].append(f"{name}{_written(labels)} {value:.10g}")
    lines: list[str] = []
    for name, found in told.items():
        if found:
            lines += [f"# HELP {name} {METRICS[name].help}", f"# TYPE {name} {METRICS[name].kind}", *found]
    return "\n".join(lines) + "\n"


def _written(labels: Mapping[str, str]) -> str:
    """Write labels; names of instances hold neither quotes nor backslashes, but nothing relies on it."""
    if not labels:
        return ""
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in labels.items()}
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"


def _points(desk: Desk) -> Iterator[Point]:
    pulse = desk.rounds.pulse
    yield "howdah_rounds_total", {}, pulse.rounds
    yield "howdah_round_age_seconds", {}, time.monotonic() - pulse.last_round
    yield "howdah_quick_look_seconds_total", {}, pulse.quick_seconds
    yield "howdah_pass_seconds_total", {}, pulse.pass_seconds
    for outcome in ("right", "done", "failed", "busy", "error"):
        yield "howdah_passes_total", {"outcome": outcome}, pulse.passes[outcome]
    outcomes = desk.service.store.outcomes()
    for outcome in _OUTCOMES:
        yield "howdah_operations", {"outcome": outcome}, outcomes.get(outcome, 0)
    for seen in desk.service.all():
        yield from _instance(desk, seen)


def _instance(desk: Desk, seen: Seen) -> Iterator[Point]:
    want, quick = seen.instance, seen.quick
    own = {"name": want.name}  # not `instance`: Prometheus calls so what it scrapes
    for state in STATES:
        yield "howdah_instance_status", {**own, "status": state}, float(state == seen.status)
    yield "howdah_instance_wanted", own, float(want.state == "running")
    yield "howdah_instance_up", own, float(quick.alive and quick.answers and (quick.pooler_alive or want.pooler is None))
    yield "howdah_connections_max", own, budget.max_connections(want)
    yield "howdah_disk_free_share", own, compose.room(desk.home, want).share
    for hop, days in quick.days_left.items():
        if days is not None:
            yield "howdah_certificate_seconds_left", {**own, "hop": hop}, days * 86_400
    latest = desk.samples.latest(want.id)
    for name, key, factor in _MEASURED:
        if latest.get(key) is not None:
            yield name, own, latest[key] * factor
