"""What is done with a whole instance: start, stop, restart, repair, delete. Each asks first where somebody would be cut off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from howdah.errors import Invalid, NotFound
from howdah.phrase import Phrase, say
from howdah.service import ahead
from howdah.service.caller import Caller, Done
from howdah.service.verbs import Service
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.visit import Sent, Shown, Visit

Verb = Callable[[Service, str, Caller], Done]


@dataclass(frozen=True)
class Act:
    """One thing that can be done with an instance."""

    title: Phrase
    button: Phrase
    what: Phrase
    verb: Verb
    typed: bool = False  # its name has to be typed, for it cannot be undone for long


ACTS: Mapping[str, Act] = {
    "start": Act(say("Start {name}"), say("Start"), say("PostgreSQL and the pooler are started."), lambda s, n, c: s.start(n, c)),
    "stop": Act(say("Stop {name}"), say("Stop"), say("PostgreSQL and the pooler end; the data stays."), lambda s, n, c: s.stop(n, c)),
    "restart": Act(
        say("Restart {name}"),
        say("Restart"),
        say("Parameters that wait for a restart are applied. Clients of the pooler wait, direct sessions end."),
        lambda s, n, c: s.restart(n, c),
    ),
    "repair": Act(
        say("Repair {name}"), say("Repair"), say("What differs from what is wanted is put right."), lambda s, n, c: s.repair_later(n, c)
    ),
    "delete": Act(
        say("Delete {name}"),
        say("Delete"),
        say("Every session ends, the ports become free, keys and passwords are destroyed."),
        lambda s, n, c: s.delete(n, c),
        typed=True,
    ),
}


@dataclass(frozen=True)
class Asking:
    """The question before an act."""

    name: str
    verb: str
    title: str
    button: str
    what: str
    question: str
    sessions: tuple[str, ...]
    more: int
    kept: str
    typed: bool
    error: str
    destroys: tuple[tuple[str, str], ...]


def form(visit: Visit, error: Phrase | None = None) -> Shown:
    """Ask before an act, naming what it destroys and whom it cuts off."""
    visit.require("member")
    act, key = _act(visit)
    seen, top = head(visit)
    asked = ahead.question(visit.service, lambda verbs, caller: act.verb(verbs, visit.name, caller))
    sessions = asked.sessions if asked is not None else ()
    want = seen.instance
    page = Asking(
        name=want.name,
        verb=key,
        title=visit.say(Phrase(act.title.template, {"name": want.name})),
        button=visit.say(act.button),
        what=visit.say(act.what),
        question=visit.say(asked.text) if asked is not None else "",
        sessions=tuple(str(each) for each in sessions[:20]),
        more=max(len(sessions) - 20, 0),
        kept=visit.say.took(visit.desk.trash_seconds) if key == "delete" else "",
        typed=act.typed,
        error=visit.say(error) if error is not None else "",
        destroys=(
            (visit.say(say("Its databases")), ", ".join(d.name for d in want.databases) or "–"),
            (visit.say(say("Users")), ", ".join(u.name for u in want.users) or "–"),
        )
        if key == "delete"
        else (),
    )
    return Shown("act.html", page, Phrase(act.title.template, {"name": want.name}), 422 if error is not None else 200, head=top)


def _act(visit: Visit) -> tuple[Act, str]:
    key = visit.params["verb"]
    if key not in ACTS:
        raise NotFound("no_such_page", say("cannot find this page"), say("begin at the list of instances"))
    return ACTS[key], key


def act(visit: Visit) -> Shown | Sent:
    """Do it, and show how it goes."""
    chosen, key = _act(visit)
    if chosen.typed and visit.form.get("typed").casefold() != visit.name.casefold():
        refusal = Invalid("not_agreed", say("cannot delete {name}: type its name to agree", name=visit.name))
        shown = form(visit, refusal.message)
        return Shown(shown.template, shown.page, shown.title, 422, head=shown.head, refusal=refusal)
    words = f"{key} {visit.name}"
    done = chosen.verb(visit.service, visit.name, visit.caller(words))
    if key == "delete":
        visit.notice(say("{name} is being deleted", name=done.instance.name))
        return Sent(urls.HOME, verb=key, words=words)
    if done.operation is None:
        visit.notice(say("nothing to change: it is so already"))
        return Sent(urls.instance(visit.name), verb=key, words=words)
    return Sent(urls.operation(visit.name, done.operation.id), verb=key, words=words)
