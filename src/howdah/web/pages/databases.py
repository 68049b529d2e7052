"""The databases of an instance."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.errors import Refusal
from howdah.phrase import Phrase, say
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.visit import Sent, Shown, Visit


@dataclass(frozen=True)
class Row:
    """One database."""

    name: str
    owner: str
    users: tuple[str, ...]


@dataclass(frozen=True)
class Databases:
    """The list, the form to add one, and a question where one is to go."""

    name: str
    rows: tuple[Row, ...]
    owners: tuple[str, ...]
    typed: str
    owner: str
    error: str
    hint: str
    leaving: str  # the database that is to be deleted, once its name is agreed to


def databases(visit: Visit) -> Shown:
    """Show every database, with its owner and who may enter."""
    return _tab(visit)


def _tab(visit: Visit, *, typed: str = "", owner: str = "", leaving: str = "", refusal: Refusal | None = None) -> Shown:
    seen, top = head(visit)
    want = seen.instance
    page = Databases(
        name=want.name,
        rows=tuple(Row(d.name, d.owner or "", tuple(u.name for u in want.users if d.name in u.databases)) for d in want.databases),
        owners=tuple(u.name for u in want.users),
        typed=typed,
        owner=owner,
        error=visit.say(refusal.message) if refusal is not None else "",
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
        leaving=leaving,
    )
    return Shown("databases.html", page, say("Databases"), 422 if refusal else 200, tab="databases", head=top, refusal=refusal)


def change(visit: Visit) -> Shown | Sent:
    """Add a database, or delete one whose name was agreed to."""
    do, name = visit.form.get("do"), visit.form.get("database")
    try:
        if do == "leave":
            return _tab(visit, leaving=name)
        if do == "delete":
            words = f"databases delete {visit.name} {name}"
            return after(visit, "databases delete", words, visit.service.delete_database(visit.name, name, visit.caller(words)).operation)
        words, owner = f"databases add {visit.name} {name}", visit.form.get("owner")
        done = visit.service.add_database(visit.name, name, owner or None, None, visit.caller(words))
        return after(visit, "databases add", words, done.operation)
    except Refusal as refusal:
        return _tab(visit, typed=name, owner=visit.form.get("owner"), refusal=refusal)


def after(visit: Visit, verb: str, words: str, operation: object, *, tab: str = "databases") -> Sent:
    """Go on to the operation, or back where nothing had to be done."""
    number = getattr(operation, "id", None)
    if number is None:
        visit.notice(NOTHING)
        return Sent(urls.tab(visit.name, tab), verb=verb, words=words)
    return Sent(urls.operation(visit.name, number), verb=verb, words=words)


NOTHING: Phrase = say("nothing to change: it is so already")
