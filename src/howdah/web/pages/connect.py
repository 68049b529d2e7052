"""How a client connects: the exact string or program, for the one that was chosen; and the pair for an application and its migrations."""

from __future__ import annotations

from dataclasses import dataclass

from howdah import compose
from howdah.errors import Refusal
from howdah.phrase import say
from howdah.web.pages.instance import head
from howdah.web.visit import Shown, Visit


@dataclass(frozen=True)
class Connect:
    """What was chosen, and what a client writes."""

    name: str
    clients: tuple[str, ...]
    client: str
    via: str
    ways: tuple[tuple[str, str], ...]
    database: str
    databases: tuple[str, ...]
    user: str
    users: tuple[str, ...]
    sslmode: str
    sslmodes: tuple[str, ...]
    files: tuple[tuple[str, str], ...]  # name and text, in the order in which they are made
    needs: tuple[str, ...]
    notes: tuple[str, ...]
    pair: tuple[tuple[str, str], ...]  # for the application, for migrations
    error: str
    hint: str


def connect(visit: Visit) -> Shown:
    """Show what a client writes."""
    seen, top = head(visit)
    want, asked = seen.instance, visit.query
    client = asked.get("client") or "psql"
    via, sslmode = asked.get("via") or ("pooled" if want.pooler is not None else "direct"), asked.get("sslmode") or "verify-full"
    if not want.tls:
        sslmode = "disable"
    files: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pair: tuple[tuple[str, str], ...] = ()
    refusal: Refusal | None = None
    user, database = asked.get("user"), asked.get("database")
    try:
        target = visit.service.target(want.name, via, database or None, user or None, sslmode)
        user, database = target.user, target.database
        found = compose.snippet(client, target)
        files = tuple({found.filename: found.text, **found.files}.items())
        needs, notes = found.needs, tuple(visit.say(each) for each in found.notes)
        pair = _pair(visit, want.name, database, user, sslmode)
    except Refusal as caught:
        refusal = caught
    page = Connect(
        name=want.name,
        clients=compose.clients(),
        client=client,
        via=via,
        ways=tuple((hop, visit.say.hop(hop)) for hop in ("pooled", "direct") if want.hop_port("pooled" if hop == "pooled" else "direct")),
        database=database,
        databases=tuple(d.name for d in want.databases),
        user=user,
        users=tuple(u.name for u in want.users),
        sslmode=sslmode,
        sslmodes=("require", "verify-full") if want.tls else ("disable",),
        files=files,
        needs=tuple(needs),
        notes=tuple(notes),
        pair=pair,
        error=visit.say(refusal.message) if refusal is not None else "",
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
    )
    return Shown("connect.html", page, say("Connect"), tab="connect", head=top)


def _pair(visit: Visit, name: str, database: str, user: str, sslmode: str) -> tuple[tuple[str, str], ...]:
    """Return the application's string, through the pooler, and that for migrations, which need a session of their own."""
    want = visit.service.store.find(name)
    if want.pooler is None:
        return ()
    strings = [compose.snippet("uri", visit.service.target(name, via, database, user, sslmode)).text for via in ("pooled", "direct")]
    return (
        (visit.say(say("application, through the pooler")), strings[0].strip()),
        (visit.say(say("migrations, dumps and LISTEN, direct")), strings[1].strip()),
    )
