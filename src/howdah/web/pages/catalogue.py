"""The catalogue of parameters, searched while one types or leafed through by category: what each is, what it takes and costs."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.catalog import parameters as catalog
from howdah.catalog import units
from howdah.catalog.parameters import Parameter
from howdah.core.instance import Instance
from howdah.core.wishes import effective_default
from howdah.phrase import say
from howdah.web.visit import Shown, Visit

_FOUND_MOST = 40
_WORDS_MOST = 20


@dataclass(frozen=True)
class Found:
    """A parameter of the catalog."""

    name: str
    description: str
    expects: str
    current: str
    default: str
    how: str
    restarts: bool
    open: bool
    reason: str
    instead: str
    there: bool


@dataclass(frozen=True)
class Search:
    """What the catalog has for some words, or in a category."""

    name: str
    words: str
    category: str
    categories: tuple[tuple[str, str], ...]  # as PostgreSQL calls them, and in the reader's language
    found: tuple[Found, ...]
    more: int


def search(visit: Visit) -> Shown:
    """Show what the catalog has: the part of the tab that follows while one types."""
    want = visit.service.store.find(visit.name)
    looked = found(visit, want, visit.query.get("category"), visit.query.get("q"), set(want.parameters))
    return Shown("parameters_found.html", looked, say("Database parameters"))


def found(visit: Visit, want: Instance, category: str, words: str, there: set[str]) -> Search:
    """Return what the catalog has for some words, in a category or in all of them; nothing where neither is given."""
    every, asked = catalog.catalog(want.version), words.lower().split()[:_WORDS_MOST]
    known = {entry.category: visit.say.postgres(want.version, entry.category) for entry in every.values()}
    categories = tuple(sorted(known.items(), key=lambda each: each[1]))
    hits = [
        entry
        for name, entry in every.items()
        if (asked or category)
        and category in ("", entry.category)
        and all(word in name or word in _text(visit, want.version, entry) for word in asked)
    ]
    first = asked[0] if asked else ""
    hits.sort(key=lambda entry: (entry.policy.kind != "open", first not in entry.name, not entry.name.startswith(first), entry.name))
    shown = tuple(_found(visit, want, entry, entry.name in there) for entry in hits[:_FOUND_MOST])
    return Search(want.name, words, category if category in known else "", categories, shown, max(len(hits) - _FOUND_MOST, 0))


def _text(visit: Visit, major: int, entry: Parameter) -> str:
    """Return what words are looked for in, in English and in the reader's language."""
    return f"{entry.description} {described(visit, major, entry)}".lower()


def _found(visit: Visit, want: Instance, entry: Parameter, there: bool) -> Found:
    default = spelled(entry, effective_default(want, entry.name) or "")
    return Found(
        name=entry.name,
        description=described(visit, want.version, entry),
        expects=expects(visit, entry),
        current=want.parameters.get(entry.name, ""),
        default=default,
        how=visit.say.how(how(entry)),
        restarts=how(entry) == "restart",
        open=entry.policy.kind == "open",
        reason=visit.say(entry.policy.reason) if entry.policy.reason is not None else "",
        instead=visit.say(entry.policy.instead) if entry.policy.instead is not None else "",
        there=there,
    )


def described(visit: Visit, major: int, entry: Parameter) -> str:
    """Return what a parameter is for."""
    return visit.say.postgres(major, *entry.sentences) if entry.sentences else entry.description


def how(entry: Parameter) -> str:
    """Return how a change of it comes into force."""
    if entry.context == "postmaster":
        return "restart"
    return "session" if entry.context in ("backend", "superuser-backend") else "reload"


def expects(visit: Visit, entry: Parameter) -> str:
    """Say which values are possible, in the units in which people write them."""
    if entry.type == "bool":
        return visit.say(say("on or off"))
    if entry.choices:
        return ", ".join(entry.choices)
    if entry.type == "string":
        return visit.say(say("text"))
    if entry.minimum is None or entry.maximum is None:
        return entry.unit or ""
    low, high = (units.spell(each, entry.unit) for each in (entry.minimum, entry.maximum))
    span = visit.say(say("{low} to {high}", low=low, high=high))
    return visit.say(say("{span}; a bare number counts {unit}", span=span, unit=entry.unit)) if entry.unit else span


def spelled(entry: Parameter, text: str) -> str:
    """Return a value with its unit where it was a bare number of base units.

    >>> spelled(Parameter("logical_decoding_work_mem", "integer", "kB"), "65536"), spelled(Parameter("port", "integer"), "5432")
    ('64MB', '5432')
    """
    return units.spell(int(text), entry.unit) if entry.unit and text.isascii() and text.isdigit() else text
