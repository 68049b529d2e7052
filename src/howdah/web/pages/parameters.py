"""Database parameters: what was set, the whole catalog to search, a review of what a change will cost, and then the change."""

from __future__ import annotations

from dataclasses import dataclass, replace

from howdah.catalog import parameters as catalog
from howdah.core.instance import Instance
from howdah.core.wishes import effective_default
from howdah.errors import Conflict, Refusal
from howdah.phrase import say
from howdah.service import ahead, faults
from howdah.web import urls
from howdah.web.desk import Draft
from howdah.web.pages.catalogue import Search, described, expects, found, how, spelled
from howdah.web.pages.instance import head
from howdah.web.pages.operations import said
from howdah.web.visit import Given, Sent, Shown, Visit


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
    running: str  # what the server still has, where that differs until a restart
    set: bool
    unset: bool
    description: str
    error: str


@dataclass(frozen=True)
class Parameters:
    """The tab: a form with what is set and what is being added, and the catalog."""

    name: str
    rows: tuple[Row, ...]
    names: tuple[str, ...]
    catalog: Search
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
    waits: bool  # for the next restart, as was asked for
    question: str
    sessions: tuple[str, ...]
    more: int
    generation: int
    keeps: bool  # sessions that are open in plaintext may stay


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
    running = _running(visit, want) if seen.status == "running" else {}
    rows = tuple(
        replace(_row(visit, want, name, typed, unset, message if name == blamed else ""), running=running.get(name, ""))
        for name in names
        if _known(want, name)
    )
    looked = found(visit, want, visit.form.get("category") or visit.query.get("category"), words, set(names))
    page = Parameters(
        name=want.name,
        rows=rows,
        names=tuple(sorted(name for name, entry in catalog.catalog(want.version).items() if entry.policy.kind == "open")),
        catalog=looked,
        error="" if blamed else message,
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
        pending=want.deferred,
        touched=bool(typed or unset),
    )
    status = 422 if refusal is not None else 200
    return Shown("parameters.html", page, say("Database parameters"), status, tab="parameters", head=top, refusal=refusal)


def _known(want: Instance, name: str) -> bool:
    return name in catalog.catalog(want.version)


def _running(visit: Visit, want: Instance) -> dict[str, str]:
    """Return what the server still has of what waits for a restart."""
    if not want.deferred:
        return {}
    there, known = visit.service.host.observe(want).server.settings, catalog.catalog(want.version)
    return {name: spelled(known[name], there[name]) for name in want.deferred if name in there and name in known}


def _row(visit: Visit, want: Instance, name: str, typed: dict[str, str], unset: tuple[str, ...], error: str) -> Row:
    entry = catalog.find(want.version, name)
    default = spelled(entry, effective_default(want, name) or "")
    current = want.parameters.get(name, default)
    return Row(
        name=name,
        current=current,
        default=default,
        typed=typed.get(name, "") or ("" if name in typed else current),
        choices=("on", "off") if entry.type == "bool" else entry.choices,
        expects=expects(visit, entry),
        how=visit.say.how(how(entry)),
        running="",
        set=name in want.parameters,
        unset=name in unset,
        description=described(visit, want.version, entry),
        error=error,
    )


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
    known = catalog.catalog(visit.service.store.find(visit.name).version)
    page = Reviewed(
        name=visit.name,
        changes=tuple(
            (each.name, spelled(known[each.name], each.old or ""), spelled(known[each.name], each.new or ""), visit.say.how(each.how))
            for each in review.changes
        ),
        fields=(*fields, *((("restart", "later"),) if later else ()), ("generation", str(review.generation))),
        restarts=review.restarts and not later,
        waits=review.restarts and later,
        question=visit.say(review.question.text) if review.question is not None else "",
        sessions=tuple(map(str, sessions[:20])),
        more=max(len(sessions) - 20, 0),
        generation=review.generation,
        keeps=bool(sessions) and not review.restarts and any(each.name == "ssl" and each.new == "on" for each in review.changes),
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
    keep = visit.form.get("plaintext") == "stays"
    words += (" --keep-plaintext" if keep else "") + (" --no-restart" if later else "")
    done = visit.service.set_parameters(visit.name, given, unset, visit.caller(words), restart=not later, keep_plaintext=keep)
    if done.operation is None:
        visit.notice(say("nothing to change: it is so already"))
        return Sent(urls.tab(want.name, "parameters"), verb="params set", words=words)
    visit.desk.drafts.put(visit.account, Draft(given), key=f"draft:{done.operation.id}")
    return Sent(urls.operation(want.name, done.operation.id), verb="params set", words=words)
