"""Pages for what cannot be shown or done, and for a question that came up only when a request was about to be carried out."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.errors import NotFound, Refusal
from howdah.phrase import say
from howdah.service.caller import Question
from howdah.web import urls
from howdah.web.visit import Shown, Visit


@dataclass(frozen=True)
class Failure:
    """What cannot be done, and what to do instead."""

    message: str
    hint: str
    back: str


@dataclass(frozen=True)
class Asked:
    """A question with the form that it stopped."""

    text: str
    sessions: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    path: str
    back: str


def refused(visit: Visit, refusal: Refusal, status: int) -> Shown:
    """Say what cannot be done."""
    hint = visit.say(refusal.hint) if refusal.hint is not None else ""
    back = urls.instance(visit.name) if visit.name and visit.visitor is not None and not isinstance(refusal, NotFound) else urls.HOME
    return Shown("failed.html", Failure(visit.say(refusal.message), hint, back), say("That did not work"), status)


def unexpected(visit: Visit, question: Question) -> Shown:
    """Ask what has to be agreed to before the very same form is sent again."""
    fields = tuple(pair for pair in visit.form.pairs if pair[0] not in ("token", "agreed"))
    back = urls.instance(visit.name) if visit.name else urls.ACCOUNT if visit.path == urls.ACCOUNT else urls.HOME
    return Shown("asked.html", Asked(visit.say(question.text), _named(question), fields, visit.path, back), say("Do you agree?"), 409)


def _named(question: Question) -> tuple[str, ...]:
    return tuple(str(session) for session in question.sessions[:20])


def nothing_here(visit: Visit) -> Shown:
    """Say that there is no such page."""
    return refused(visit, NotFound("no_such_page", say("cannot find this page"), say("begin at the list of instances")), 404)
