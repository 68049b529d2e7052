"""One request as a page sees it, and the three answers that a page may give."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from howdah.core.people import Role, may, refused_for
from howdah.errors import Invalid, Refusal
from howdah.phrase import Phrase, say
from howdah.service.caller import Caller, Question
from howdah.service.people import Visitor
from howdah.service.verbs import Service
from howdah.web.desk import Desk
from howdah.web.wording import Wording

PATIENCE_SECONDS = 3.0


class NotAgreed(Exception):
    """The question that a verb asked was not on the page that was agreed to: it has to be shown."""

    def __init__(self, question: Question) -> None:
        super().__init__(str(question.text))
        self.question = question


@dataclass(frozen=True)
class Form:
    """What was sent: each name with its values, in order."""

    pairs: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a name, without blanks around it."""
        return next((value.strip() for key, value in reversed(self.pairs) if key == name), default)

    def raw(self, name: str) -> str:
        """Return the last value of a name as it was typed: a password may begin with a blank."""
        return next((value for key, value in reversed(self.pairs) if key == name), "")

    def all(self, name: str) -> list[str]:
        """Return every value of a name that is not empty."""
        return [value.strip() for key, value in self.pairs if key == name and value.strip()]

    def below(self, prefix: str) -> dict[str, str]:
        """Return the values of names that begin so, by the rest of the name.

        >>> Form((("set:work_mem", "4MB"), ("x", "y"))).below("set:")
        {'work_mem': '4MB'}
        """
        return {key.removeprefix(prefix): value.strip() for key, value in self.pairs if key.startswith(prefix)}


@dataclass(frozen=True)
class Visit:
    """A request: who asks for what, and in which language."""

    desk: Desk
    path: str
    params: Mapping[str, str]
    query: Form
    form: Form
    say: Wording
    address: str
    program: str
    theme: str = ""
    visitor: Visitor | None = None
    csrf: str = ""
    secure: bool = False

    @property
    def service(self) -> Service:
        """The verbs."""
        return self.desk.service

    @property
    def name(self) -> str:
        """The instance that the address names."""
        return self.params.get("name", "")

    @property
    def account(self) -> str:
        """Who asks."""
        return self.visitor.account.name if self.visitor is not None else ""

    @property
    def role(self) -> Role:
        """As what."""
        return self.visitor.account.role if self.visitor is not None else "reader"

    def may(self, need: Role) -> bool:
        """Tell whether who asks may do what needs a role."""
        return may(self.role, need)

    def require(self, need: Role) -> None:
        """Refuse what who asks may not do."""
        if not self.may(need):
            raise refused_for(self.role, need)

    def caller(self, words: str, *, agreed: bool = True) -> Caller:
        """Return who asks, for a verb: its work is left to the loop, and its question was answered on a page."""

        def confirm(question: Question) -> None:
            if not agreed:
                raise NotAgreed(question)

        return Caller(self.account, f"howdah {words}", confirm, lambda _: None, wait=False, patience=PATIENCE_SECONDS)

    def told(self, refusal: Refusal | None) -> tuple[str, str]:
        """Return what a refusal says and what to do about it, both empty without one."""
        if refusal is None:
            return "", ""
        return self.say(refusal.message), self.say(refusal.hint) if refusal.hint is not None else ""

    def faults(self, found: Mapping[str, Refusal]) -> Given:
        """Answer a form that is still being typed: by its fields, what is wrong with each; what no field is to blame for has no name."""
        said = {field: "; ".join(filter(None, self.told(refusal))) for field, refusal in found.items()}
        # what was typed stands in it: no browser shall ever take it for markup
        return Given(json.dumps({"faults": said}).replace("<", "\\u003c").encode(), "application/json")

    def notice(self, text: Phrase) -> None:
        """Have a sentence stand on the next page."""
        if self.visitor is not None:
            digest = self.visitor.entry.digest
            self.desk.notices.put(digest, text, key=f"notice:{digest}")

    def whole(self, text: str, name: Phrase) -> int:
        """Return a whole number that was typed, or refuse it."""
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise Invalid("invalid_value", say("cannot use {name}={value}: expected a whole number", name=name, value=repr(text[:40])))
        return int(text)


@dataclass(frozen=True)
class Shown:
    """Answer with a page: a template, and the one context that it is drawn from."""

    template: str
    page: Any
    title: Phrase
    status: int = 200
    tab: str = ""
    head: Any = None  # what every page of one instance has above its tabs
    refusal: Refusal | None = None  # what stands beside the form that it refused


@dataclass(frozen=True)
class Sent:
    """Answer by sending to another page; `cookie` is what the browser is to carry from now on, empty to forget it."""

    url: str
    cookie: str | None = None
    language: str = ""
    verb: str = ""
    about: str = ""
    words: str = ""


@dataclass(frozen=True)
class Given:
    """Answer with a file."""

    content: bytes
    kind: str
    filename: str = ""
    headers: Sequence[tuple[str, str]] = field(default=())


Answer = Shown | Sent | Given


@dataclass(frozen=True)
class Page:
    """One address: what it shows, what it takes, and which role each of them needs; `need` None is open to everybody."""

    path: str
    get: Callable[[Visit], Answer] | None = None
    post: Callable[[Visit], Answer] | None = None
    need: Role | None = "reader"
    change: Role = "member"
    verb: str = ""

    @property
    def methods(self) -> list[str]:
        """Which requests it answers."""
        return [*(("GET",) if self.get is not None else ()), *(("POST",) if self.post is not None else ())]
