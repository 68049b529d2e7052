"""Extensions: what is added, what can be, and the settings of each; for the pooler with its modes and the connection budget."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.catalog.extensions import Extension, catalog, extension
from howdah.core import budget
from howdah.core.files import pooler_settings
from howdah.core.instance import Instance
from howdah.errors import NotFound, Refusal
from howdah.phrase import Phrase, say
from howdah.service import ahead, faults
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.visit import Given, NotAgreed, Sent, Shown, Visit

MAIN = ("pool_mode", "max_client_conn", "listen_port", "default_pool_size")
_DESCRIPTORS = 64
MODES: tuple[tuple[str, Phrase], ...] = (
    ("session", say("a client keeps its server connection until it leaves: everything works, and nothing is shared while it is connected")),
    (
        "transaction",
        say("a server connection is lent for one transaction: many clients share few; SET, LISTEN and session locks do not last"),
    ),
    ("statement", say("a server connection is lent for one statement: transactions of several statements are refused")),
)


@dataclass(frozen=True)
class Row:
    """One extension."""

    name: str
    title: str
    description: str
    added: bool
    state: tuple[str, str] | None
    settings: tuple[tuple[str, str], ...]
    restart: bool
    available: bool
    version: str  # of the program that is installed
    needs: str


@dataclass(frozen=True)
class Extensions:
    """What is added, and what can be."""

    name: str
    added: tuple[Row, ...]
    others: tuple[Row, ...]


@dataclass(frozen=True)
class Field:
    """One setting in the form."""

    name: str
    typed: str
    placeholder: str
    description: str
    choices: tuple[str, ...]
    number: bool
    minimum: int
    maximum: int
    how: str
    error: str


@dataclass(frozen=True)
class Budget:
    """The connections and descriptors that the pooler's numbers are cut from."""

    connections: int
    reserved: int
    servers: int
    clients: int
    files: int
    own: int
    users: tuple[int, ...]  # of each database: a pool is made for each pair


@dataclass(frozen=True)
class Settings:
    """The form of one extension."""

    name: str
    extension: str
    title: str
    description: str
    added: bool
    main: tuple[Field, ...]
    more: tuple[Field, ...]
    modes: tuple[tuple[str, str], ...]
    mode_default: str
    budget: Budget | None
    restart: bool
    error: str
    hint: str
    open: bool  # the folded part holds something


@dataclass(frozen=True)
class Reviewed:
    """What would change."""

    name: str
    extension: str
    removing: bool
    changes: tuple[tuple[str, str, str, str], ...]
    fields: tuple[tuple[str, str], ...]
    question: str
    sessions: tuple[str, ...]
    more: int
    generation: int


def extensions(visit: Visit) -> Shown:
    """Show what is added, and what can be."""
    seen, top = head(visit)
    rows = [_row(visit, entry, seen.instance, pooler_alive=seen.quick.pooler_alive, alive=seen.quick.alive) for entry in catalog().values()]
    page = Extensions(seen.instance.name, tuple(r for r in rows if r.added), tuple(r for r in rows if not r.added))
    return Shown("extensions.html", page, say("Extensions"), tab="extensions", head=top)


def _row(visit: Visit, entry: Extension, want: Instance, *, pooler_alive: bool, alive: bool) -> Row:
    added = entry.name in want.extensions
    up = pooler_alive if entry.program else alive
    state = "stopped" if want.state == "stopped" else "running" if up else "down"
    version = visit.service.facts().pooler_version
    there = bool(version) if entry.program else entry.preload is None or visit.service.host.has_library(want.version, entry.preload)
    return Row(
        name=entry.name,
        title=visit.say(entry.title),
        description=visit.say(entry.description),
        added=added,
        state=visit.say.state(state) if added else None,
        settings=tuple(sorted(want.extensions.get(entry.name, {}).items())),
        restart=entry.preload is not None,
        available=there,
        version=".".join(map(str, version)) if entry.program else "",
        needs=f"sudo apt-get install {entry.package.format(major=want.version)}",
    )


def settings(visit: Visit) -> Shown:
    """Show the form of one extension."""
    return _form(visit, _extension(visit), {})


def _extension(visit: Visit) -> Extension:
    return extension(visit.params["extension"])


def _form(visit: Visit, entry: Extension, typed: dict[str, str], refusal: Refusal | None = None) -> Shown:
    seen, top = head(visit)
    want, facts = seen.instance, visit.service.facts()
    there = want.extensions.get(entry.name, {})
    message = visit.say(refusal.message) if refusal is not None else ""
    names = (*entry.settings, *entry.parameters)
    blamed = next((name for name in names if f" {name}=" in message), "")
    chosen = pooler_settings(want, facts) if entry.program and there else {}
    fields = {
        name: _field(visit, entry, name, typed.get(name, there.get(name, "")), chosen.get(name, ""), message if name == blamed else "")
        for name in names
    }
    main = tuple(fields[name] for name in MAIN if name in fields) or tuple(fields.values())
    more = tuple(field for name, field in fields.items() if field not in main)
    page = Settings(
        name=want.name,
        extension=entry.name,
        title=visit.say(entry.title),
        description=visit.say(entry.description),
        added=entry.name in want.extensions,
        main=main,
        more=more,
        modes=tuple((mode, visit.say(text)) for mode, text in MODES) if entry.program else (),
        mode_default="transaction" if facts.pooler_version >= (1, 21) else "session",
        budget=_budget(visit, want) if entry.program else None,
        restart=entry.preload is not None,
        error="" if blamed else message,
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
        open=any(field.typed or field.error for field in more),
    )
    status = 422 if refusal is not None else 200
    return Shown("extension.html", page, say("{title}", title=entry.title), status, tab="extensions", head=top, refusal=refusal)


def _field(visit: Visit, entry: Extension, name: str, typed: str, chosen: str, error: str) -> Field:
    if name in entry.parameters:
        brought = entry.parameters[name]
        choices = ("on", "off") if brought.type == "bool" else brought.choices
        how = "restart" if brought.context == "postmaster" else "reload"
        least, most = int(brought.minimum or 0), int(brought.maximum or 0)
        return Field(
            name, typed, brought.default or "", visit.say(brought.description), choices, False, least, most, visit.say.how(how), error
        )
    one = entry.settings[name]
    choices = ("1", "0") if one.kind == "boolean" else one.choices
    return Field(
        name=name,
        typed=typed,
        placeholder=chosen or one.default or visit.say(say("chosen for you")),
        description=visit.say(one.description),
        choices=choices,
        number=one.kind in ("integer", "seconds"),
        minimum=one.minimum,
        maximum=one.maximum,
        how=visit.say.how("takeover" if one.swaps else "reload"),
        error=error,
    )


def _budget(visit: Visit, want: Instance) -> Budget:
    facts = visit.service.facts()
    return Budget(
        connections=budget.max_connections(want),
        reserved=budget.RESERVED,
        servers=budget.server_share(want),
        clients=budget.largest_clients(want, facts),
        files=facts.nofile,
        own=_DESCRIPTORS,
        users=tuple(sum(base.name in user.databases for user in want.users) or 1 for base in want.databases) or (1,),
    )


def change(visit: Visit) -> Shown | Sent:
    """Review, save, or remove."""
    visit.require("member")
    entry, do = _extension(visit), visit.form.get("do")
    typed = {name: value for name, value in visit.form.below("set:").items() if value}
    if do in ("remove", "removed"):
        return _removed(visit, entry) if do == "removed" else _review_removal(visit, entry)
    want = visit.service.store.find(visit.name)
    given = {name: value for name, value in typed.items() if want.extensions.get(entry.name, {}).get(name) != value}
    try:
        return _save(visit, entry, given) if do == "save" else _review(visit, entry, given)
    except NotAgreed:
        raise
    except Refusal as refusal:
        return _form(visit, entry, typed, refusal)


def check(visit: Visit) -> Given:
    """Say what is wrong with what is typed so far."""
    entry = _extension(visit)
    typed = {name: value for name, value in visit.form.below("set:").items() if value}
    found = faults.of_extension(visit.service, visit.name, entry.name, typed)
    return visit.faults({f"set:{name}" if name else name: refusal for name, refusal in found.items()})


def _review(visit: Visit, entry: Extension, given: dict[str, str]) -> Shown | Sent:
    review = ahead.extension(visit.service, visit.name, entry.name, given)
    there = entry.name in visit.service.store.find(visit.name).extensions
    if there and not review.changes:
        visit.notice(say("nothing to change: it is so already"))
        return Sent(urls.tab(visit.name, "extensions"))
    if not there and review.question is None:
        return _save(visit, entry, given)  # nobody is cut off, nothing is lost: one question less
    return _reviewed(visit, entry, review, tuple((f"set:{name}", value) for name, value in given.items()))


def _reviewed(
    visit: Visit, entry: Extension, review: ahead.Review, fields: tuple[tuple[str, str], ...], *, removing: bool = False
) -> Shown:
    sessions = review.question.sessions if review.question is not None else ()
    page = Reviewed(
        name=visit.name,
        extension=entry.name,
        removing=removing,
        changes=tuple((each.name, each.old or "", each.new or "", visit.say.how(each.how)) for each in review.changes),
        fields=(*fields, ("generation", str(review.generation))),
        question=visit.say(review.question.text) if review.question is not None else "",
        sessions=tuple(map(str, sessions[:20])),
        more=max(len(sessions) - 20, 0),
        generation=review.generation,
    )
    return Shown("extension_review.html", page, say("Review the changes"), tab="extensions", head=head(visit)[1])


def _review_removal(visit: Visit, entry: Extension) -> Shown:
    want = visit.service.store.find(visit.name)
    if entry.name not in want.extensions:
        raise NotFound("not_added", say("cannot remove {name}: it is not added", name=entry.name))
    asked = ahead.question(visit.service, lambda verbs, caller: verbs.remove_extension(visit.name, entry.name, caller))
    return _reviewed(visit, entry, ahead.Review((), asked, want.generation), (), removing=True)


def _save(visit: Visit, entry: Extension, given: dict[str, str]) -> Sent:
    want = visit.service.store.find(visit.name)
    verb = "extensions set" if entry.name in want.extensions else "extensions add"
    words = " ".join([verb, want.name, entry.name, *(f"{name}={value}" for name, value in given.items())])
    if verb == "extensions set":
        done = visit.service.set_extension(visit.name, entry.name, given, visit.caller(words))
    else:
        done = visit.service.add_extension(visit.name, entry.name, given, visit.caller(words, agreed=visit.form.get("do") == "save"))
    after = urls.operation(want.name, done.operation.id) if done.operation is not None else urls.tab(want.name, "extensions")
    return Sent(after, verb=verb, words=words)


def _removed(visit: Visit, entry: Extension) -> Sent:
    words = f"extensions remove {visit.name} {entry.name}"
    done = visit.service.remove_extension(visit.name, entry.name, visit.caller(words))
    after = urls.operation(visit.name, done.operation.id) if done.operation is not None else urls.tab(visit.name, "extensions")
    return Sent(after, verb="extensions remove", words=words)
