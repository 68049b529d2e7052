"""Database parameters: what was set, the whole catalog to search, a review of what a change will cost, and then the change."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.catalog import parameters as catalog
from howdah.catalog.parameters import Parameter
from howdah.core.instance import Instance
from howdah.core.wishes import effective_default
from howdah.errors import Conflict, Refusal
from howdah.phrase import say
from howdah.service import ahead, faults
from howdah.web import urls
from howdah.web.desk import Draft
from howdah.web.pages.instance import head
from howdah.web.pages.operations import said
from howdah.web.visit import Given, Sent, Shown, Visit

_FOUND_MOST = 40
_WORDS_MOST = 20


@dataclass(frozen=True)
class Row:
    """A parameter in the form: what it is now, what was typed, and what is known of it."""

    name: str
    current: str
    default: str
    typed: str
    choices: tuple[str, ...]
    expects: str
    how: str
    pending: bool
    set: bool
    unset: bool
    description: str
    error: str


@dataclass(frozen=True)
class Found:
    """A parameter of the catalog."""

    name: str
    description: str
    expects: str
    default: str
    how: str
    open: bool
    reason: str
    instead: str
    there: bool


@dataclass(frozen=True)
class Parameters:
    """The tab: a form with what is set and what is being added, and the catalog."""

    name: str
    rows: tuple[Row, ...]
    names: tuple[str, ...]
    words: str
    found: tuple[Found, ...]
    more: int
    error: str
    hint: str
    pending: tuple[str, ...]
    touched: bool


@dataclass(frozen=True)
class Reviewed:
    """What would change, and what it would cost."""

    name: str
    changes: tuple[tuple[str, str, str, str], ...]  # name, old, new, how
    fields: tuple[tuple[str, str], ...]
    restarts: bool
    question: str
    sessions: tuple[str, ...]
    more: int
    generation: int


@dataclass(frozen=True)
class Search:
    """What the catalog has for some words."""

    name: str
    words: str
    found: tuple[Found, ...]
    more: int


def parameters(visit: Visit) -> Shown:
    """Show what is set; `add` names a parameter to add, `q` words to search for, `refused` an operation whose values to show again."""
    typed = dict.fromkeys(visit.query.all("add"), "")
    draft: Draft | None = visit.desk.drafts.take(visit.account, f"draft:{visit.query.get('refused')}", leave=True)
    error = ""
    if draft is not None:
        typed |= draft.values
        number = visit.query.get("refused")
        done = next((each for each in visit.service.operations(visit.name) if str(each.id) == number), None)
        error = said(visit, done, "message") if done is not None else ""
    return _tab(visit, typed, (), visit.query.get("q"), words_error=error)


def _tab(
    visit: Visit,
    typed: dict[str, str],
    unset: tuple[str, ...],
    words: str,
    *,
    refusal: Refusal | None = None,
    words_error: str = "",
    at: str = "",
) -> Shown:
    seen, top = head(visit)
    want = seen.instance
    message = visit.say(refusal.message) if refusal is not None else words_error
    blamed = at or next(
        (name for name in sorted(typed, key=len, reverse=True) if f'"{name}"' in message.lower() or f" {name}=" in message), ""
    )
    names = dict.fromkeys([*sorted(want.parameters), *typed])
    rows = tuple(_row(visit, want, name, typed, unset, message if name == blamed else "") for name in names if _known(want, name))
    found, more = _search(visit, want, words, set(names))
    page = Parameters(
        name=want.name,
        rows=rows,
        names=tuple(sorted(name for name, entry in catalog.catalog(want.version).items() if entry.policy.kind == "open")),
        words=words,
        found=found,
        more=more,
        error="" if blamed else message,
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
        pending=want.deferred,
        touched=bool(typed or unset),
    )
    status = 422 if refusal is not None else 200
    return Shown("parameters.html", page, say("Database parameters"), status, tab="parameters", head=top, refusal=refusal)


def _known(want: Instance, name: str) -> bool:
    return name in catalog.catalog(want.version)


def _row(visit: Visit, want: Instance, name: str, typed: dict[str, str], unset: tuple[str, ...], error: str) -> Row:
    entry = catalog.find(want.version, name)
    default = effective_default(want, name) or ""
    current = want.parameters.get(name, default)
    return Row(
        name=name,
        current=current,
        default=default,
        typed=typed.get(name, "") or ("" if name in typed else current),
        choices=("on", "off") if entry.type == "bool" else entry.choices,
        expects=_expects(visit, entry),
        how=visit.say.how(_how(entry)),
        pending=name in want.deferred,
        set=name in want.parameters,
        unset=name in unset,
        description=entry.description,
        error=error,
    )


def _how(entry: Parameter) -> str:
    if entry.context == "postmaster":
        return "restart"
    return "session" if entry.context in ("backend", "superuser-backend") else "reload"


def _expects(visit: Visit, entry: Parameter) -> str:
    """Say which values are possible."""
    if entry.type == "bool":
        return visit.say(say("on or off"))
    if entry.choices:
        return ", ".join(entry.choices)
    if entry.type == "string":
        return visit.say(say("text"))
    span = (
        f"{visit.say.number(entry.minimum)} … {visit.say.number(entry.maximum)}"
        if entry.minimum is not None and entry.maximum is not None
        else ""
    )
    unit = visit.say("in {unit}, or with a unit of its own", unit=entry.unit) if entry.unit else ""
    return ", ".join(filter(None, (span, unit)))


def search(visit: Visit) -> Shown:
    """Show what the catalog has: the part of the tab that follows while one types."""
    want, words = visit.service.store.find(visit.name), visit.query.get("q")
    found, more = _search(visit, want, words, set(want.parameters))
    return Shown("parameters_found.html", Search(want.name, words, found, more), say("Database parameters"))


def _search(visit: Visit, want: Instance, words: str, there: set[str]) -> tuple[tuple[Found, ...], int]:
    asked = words.lower().split()[:_WORDS_MOST]
    if not asked:
        return (), 0
    every = catalog.catalog(want.version)
    hits = [entry for name, entry in every.items() if all(word in name or word in entry.description.lower() for word in asked)]
    hits.sort(key=lambda entry: (entry.policy.kind != "open", asked[0] not in entry.name, not entry.name.startswith(asked[0]), entry.name))
    found = tuple(
        Found(
            name=entry.name,
            description=entry.description,
            expects=_expects(visit, entry),
            default=effective_default(want, entry.name) or "",
            how=visit.say.how(_how(entry)),
            open=entry.policy.kind == "open",
            reason=visit.say(entry.policy.reason) if entry.policy.reason is not None else "",
            instead=visit.say(entry.policy.instead) if entry.policy.instead is not None else "",
            there=entry.name in there,
        )
        for entry in hits[:_FOUND_MOST]
    )
    return found, max(len(hits) - _FOUND_MOST, 0)


def change(visit: Visit) -> Shown | Sent:
    """Take the form: a row more, a search, a review, or the change itself."""
    do, typed = visit.form.get("do"), visit.form.below("set:")
    unset, words = tuple(visit.form.all("unset")), visit.form.get("q")
    add = visit.form.get("add").lower()
    if do in ("review", "save"):
        try:
            return _save(visit, typed, unset) if do == "save" else _review(visit, typed, unset)
        except Refusal as refusal:
            return _tab(visit, typed, unset, words, refusal=refusal)
    adding = do.removeprefix("add:") if do.startswith("add:") else add
    if do.startswith("drop:"):
        typed.pop(do.removeprefix("drop:"), None)
    elif adding and do != "search":
        try:
            catalog.find(visit.service.store.find(visit.name).version, adding)
        except Refusal as refusal:
            return _tab(visit, typed, unset, words, refusal=refusal)
        typed.setdefault(adding, "")
    return _tab(visit, typed, unset, words)


def check(visit: Visit) -> Given:
    """Say what is wrong with what is typed so far; a row that was added and has no value yet waits for one."""
    typed, unset = visit.form.below("set:"), tuple(visit.form.all("unset"))
    there = visit.service.store.find(visit.name).parameters
    given = {name: value for name, value in _wanted(visit, typed, unset).items() if value or name in there}
    found = faults.of_parameters(visit.service, visit.name, given, unset)
    return visit.faults({f"set:{name}" if name else name: refusal for name, refusal in found.items()})


def _wanted(visit: Visit, typed: dict[str, str], unset: tuple[str, ...]) -> dict[str, str]:
    """Return what is to be set: rows that were neither left as they are nor are to go."""
    want = visit.service.store.find(visit.name)
    return {name: value for name, value in typed.items() if name not in unset and value != want.parameters.get(name)}


def _review(visit: Visit, typed: dict[str, str], unset: tuple[str, ...]) -> Shown:
    visit.require("member")
    given, later = _wanted(visit, typed, unset), visit.form.get("restart") == "later"
    review = ahead.parameters(visit.service, visit.name, given, unset, restart=not later)
    if not review.changes:
        return _tab(visit, typed, unset, "", words_error=visit.say(say("nothing to change: it is so already")))
    sessions = review.question.sessions if review.question is not None else ()
    fields = (*((f"set:{name}", value) for name, value in given.items()), *(("unset", name) for name in unset))
    page = Reviewed(
        name=visit.name,
        changes=tuple((each.name, each.old or "", each.new or "", visit.say.how(each.how)) for each in review.changes),
        fields=(*fields, ("generation", str(review.generation))),
        restarts=review.restarts,
        question=visit.say(review.question.text) if review.question is not None else "",
        sessions=tuple(map(str, sessions[:20])),
        more=max(len(sessions) - 20, 0),
        generation=review.generation,
    )
    return Shown("parameters_review.html", page, say("Review the changes"), tab="parameters", head=head(visit)[1])


def _save(visit: Visit, typed: dict[str, str], unset: tuple[str, ...]) -> Sent:
    want = visit.service.store.find(visit.name)
    if visit.form.get("generation") != str(want.generation):
        raise Conflict("changed_meanwhile", say("cannot save: {name} was changed meanwhile; review the changes again", name=want.name))
    given, later = {name: value for name, value in typed.items() if name not in unset}, visit.form.get("restart") == "later"
    words = (
        " ".join(["params set", want.name, *(f"{name}={value}" for name, value in given.items())]) if given else f"params unset {want.name}"
    )
    words = " ".join([words, *(f"--unset {name}" for name in unset)]) if given else " ".join([words, *unset])
    done = visit.service.set_parameters(visit.name, given, unset, visit.caller(words), restart=not later)
    if done.operation is None:
        visit.notice(say("nothing to change: it is so already"))
        return Sent(urls.tab(want.name, "parameters"), verb="params set", words=words)
    visit.desk.drafts.put(visit.account, Draft(given), key=f"draft:{done.operation.id}")
    return Sent(urls.operation(want.name, done.operation.id), verb="params set", words=words)
