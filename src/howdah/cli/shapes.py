"""What `--json` answers: every shape in one place, made by pure functions; docs/reference/json.md describes them.

Sentences, codes and states are English. A secret appears only in the answer of the command that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from howdah.core.endpoint import Endpoint, endpoints
from howdah.core.instance import Database, Hop, Instance, User
from howdah.phrase import Phrase

if TYPE_CHECKING:
    from howdah.catalog.extensions import Extension, Setting
    from howdah.catalog.parameters import Parameter
    from howdah.core.observed import Pair, Session
    from howdah.core.operation import Line, Operation
    from howdah.core.remember import Trashed
    from howdah.core.rotation import Bundle
    from howdah.core.wishes import Change
    from howdah.service.caller import Done, Seen

Shape = dict[str, Any]


def moment(seconds: float) -> str | None:
    """Return a time (seconds since the epoch) in UTC by RFC 3339; None for one that has not come.

    >>> moment(0.0), moment(1_700_000_000.25)
    (None, '2023-11-14T22:13:20.250Z')
    """
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instance(seen: Seen) -> Shape:
    """Return what `show` answers, and each element of `list`."""
    want = seen.instance
    return {
        "name": want.name,
        "id": want.id,
        "status": seen.status,
        "version": want.version,
        "size": want.size,
        "project": want.project,
        "generation": want.generation,
        "parameters": dict(sorted(want.parameters.items())),
        "extensions": extensions(seen),
        "endpoints": [endpoint(each, seen.quick.days_left) for each in endpoints(want)],
        "databases": [database(each) for each in want.databases],
        "users": [user(each) for each in want.users],
        "members": members(seen),
        "pending_restart": list(seen.pending_restart),
        "fix": fix(seen),
        "last_operation": operation(seen.last) if seen.last is not None else None,
    }


def fix(seen: Seen) -> str | None:
    """Return the command that puts right what is wrong with an instance, or None."""
    return f"howdah repair {seen.instance.name}" if seen.status in ("down", "error") else None


def extensions(seen: Seen) -> list[Shape]:
    """Return the extensions of an instance, by name."""
    return [
        {"name": name, "status": _extension_status(seen, name), "parameters": dict(sorted(settings.items()))}
        for name, settings in sorted(seen.instance.extensions.items())
    ]


def _extension_status(seen: Seen, name: str) -> str:
    if seen.status in ("creating", "updating", "deleting", "stopped"):
        return seen.status
    alive = seen.quick.pooler_alive if name == "pooler" else seen.quick.alive
    return "running" if alive else "down"


def endpoint(place: Endpoint, days_left: Mapping[Hop, float | None]) -> Shape:
    """Return one place to connect to; `days_left` is of the certificate as served."""
    left = days_left.get(place.kind)
    return {
        "kind": place.kind,
        "host": place.host,
        "port": place.port,
        "tls": place.tls,
        "addresses": list(place.addresses),
        "hostnames": list(place.hostnames),
        "days_left": None if left is None else round(left, 1),
    }


def reach(want: Instance, place: Endpoint, days_left: Mapping[Hop, float | None]) -> Shape:
    """Return an endpoint with the networks that may connect."""
    return {**endpoint(place, days_left), "allow": list(want.reach(place.kind).allow)}


def database(wanted: Database) -> Shape:
    """Return one database."""
    return {"name": wanted.name, "owner": wanted.owner, "icu_locale": wanted.icu_locale}


def user(wanted: User) -> Shape:
    """Return one user; nothing of its password."""
    return {"name": wanted.name, "databases": list(wanted.databases)}


def members(seen: Seen) -> list[Shape]:
    """Return the PostgreSQL servers of an instance; a single engine has one."""
    state = "running" if seen.quick.alive else "stopped" if seen.status == "stopped" else "down"
    return [{"name": f"{seen.instance.id}-1", "role": "primary", "status": state}]


def _step(line: Line) -> Shape:
    told = {"step": line.step, "what": str(line.what), "why": str(line.why), "milliseconds": line.milliseconds}
    return {**told, "stall": line.stall, "ended": line.ended}


def operation(done: Operation) -> Shape:
    """Return the story of one operation."""
    return {
        "id": done.id,
        "verb": done.verb,
        "actor": done.actor,
        "generation": done.generation,
        "outcome": done.outcome,
        "started": moment(done.started),
        "finished": moment(done.finished),
        "milliseconds": milliseconds(done),
        "request": str(done.asked.get("request", "")) or None,
        "applied": done.applied,
        "stall": done.stall,
        "ended": done.ended,
        "steps": [_step(each) for each in done.story],
        "error": {key: done.error[key] for key in ("code", "message", "hint") if key in done.error} or None,
    }


def milliseconds(done: Operation) -> float | None:
    """Return how long an operation took, or None while it is not over."""
    return round((done.finished - done.started) * 1000, 1) if done.finished and done.started else None


def change(done: Done, passfile: Path | None) -> Shape:
    """Return what became of a change."""
    answer: Shape = {
        "instance": done.instance.name,
        "operation": operation(done.operation) if done.operation is not None else None,
        "changes": [changed(each) for each in done.changes],
        "notes": [str(note) for note in done.notes],
    }
    if done.password is not None:
        name, secret = done.password
        answer["password"] = {"user": name, "password": secret.reveal(), "passfile": str(passfile) if passfile else None}
    return answer


def session(one: Session) -> Shape:
    """Return one session of a client."""
    return {
        "user": one.user,
        "database": one.database,
        "application": one.application or None,
        "address": one.address,
        "connected_at": moment(one.since),
    }


def changed(one: Change) -> Shape:
    """Return one value before and after."""
    return {"name": one.name, "old": one.old, "new": one.new, "how": one.how}


def trashed(entry: Trashed, keep_seconds: float) -> Shape:
    """Return one instance in the trash, and when it is removed for good."""
    want = entry.instance
    return {
        "name": want.name,
        "id": want.id,
        "version": want.version,
        "deleted": moment(entry.at),
        "removed_after": moment(entry.at + keep_seconds),
    }


def parameter(entry: Parameter) -> Shape:
    """Return one parameter of the catalogue."""
    policy = entry.policy
    return {
        "name": entry.name,
        "type": entry.type,
        "unit": entry.unit,
        "minimum": entry.minimum,
        "maximum": entry.maximum,
        "choices": list(entry.choices),
        "default": entry.default,
        "applied_by": "restart" if entry.context == "postmaster" else "reload",
        "policy": policy.kind,
        "reason": _english(policy.reason),
        "instead": _english(policy.instead),
        "category": entry.category,
        "description": entry.description,
    }


def extension(entry: Extension) -> Shape:
    """Return one extension of the catalogue."""
    return {
        "name": entry.name,
        "title": str(entry.title),
        "description": str(entry.description),
        "restart": entry.preload is not None,
        "settings": [
            *(_setting(each) for each in entry.settings.values()),
            *(_brought(each) for each in entry.parameters.values()),
        ],
    }


def _setting(entry: Setting) -> Shape:
    number = entry.kind in ("integer", "seconds")
    return {
        "name": entry.name,
        "type": entry.kind,
        "minimum": entry.minimum if number else None,
        "maximum": entry.maximum if number else None,
        "choices": list(entry.choices),
        "default": entry.default,
        "applied_by": "takeover" if entry.swaps else "reload",
        "since": ".".join(map(str, entry.since)) or None,
        "description": str(entry.description),
    }


def _brought(entry: Parameter) -> Shape:
    said = parameter(entry)
    kept = ("name", "type", "minimum", "maximum", "choices", "default", "applied_by", "description")
    return {**{key: said[key] for key in kept}, "since": None}


class Snippet(Protocol):
    """What a client writes, as `connect` makes it."""

    @property
    def client(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def filename(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[Phrase, ...]: ...
    @property
    def files(self) -> Mapping[str, str]: ...


def snippet(found: Snippet) -> Shape:
    """Return a snippet for one client."""
    return {
        "client": found.client,
        "language": found.language,
        "text": found.text,
        "filename": found.filename,
        "files": dict(found.files),
        "needs": list(found.needs),
        "notes": [str(note) for note in found.notes],
    }


class Diagnosis(Protocol):
    """What `doctor` found of one thing."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> Phrase: ...
    @property
    def result(self) -> str: ...
    @property
    def evidence(self) -> Phrase: ...
    @property
    def fix(self) -> Phrase | None: ...


def diagnosis(found: Sequence[Diagnosis]) -> Shape:
    """Return what `doctor` found, and whether the machine is fit."""
    return {
        "fit": all(each.result != "fail" for each in found),
        "checks": [
            {
                "id": each.id,
                "title": str(each.title),
                "result": each.result,
                "evidence": str(each.evidence),
                "fix": _english(each.fix),
            }
            for each in found
        ],
    }


def authority(found: Bundle) -> Shape:
    """Return the CA that clients verify with, who issues first, and where a change of it stands; dates by RFC 3339."""
    other = found.other
    return {
        "file": str(found.file),
        "pem": found.pem,
        "fingerprint": found.fingerprint,
        "not_after": moment(found.not_after),
        "phase": found.phase,
        "other": {"fingerprint": other.fingerprint, "not_after": moment(other.not_after)} if other is not None else None,
    }


def certificate(hop: Hop, pair: Pair, served: bool) -> Shape:
    """Return one certificate of an instance; `issuer` is `current`, `other` while the authority changes, or `unknown`."""
    return {
        "hop": hop,
        "serial": pair.serial,
        "not_before": moment(pair.not_before),
        "not_after": moment(pair.not_after),
        "names": sorted(pair.names),
        "issuer": "current" if pair.current else "other" if pair.trusted else "unknown",
        "served": served,
    }


def repairs(done: Sequence[Done]) -> list[Shape]:
    """Return what became of a pass over several instances."""
    return [change(each, None) for each in done]


def _english(phrase: Phrase | None) -> str | None:
    return str(phrase) if phrase is not None else None
