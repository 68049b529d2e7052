"""The users of an instance: who logs in to its databases, with which rights. Passwords that Howdah made are shown once."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.core.instance import check_password
from howdah.errors import Refusal
from howdah.phrase import say
from howdah.service.caller import Question
from howdah.web import urls
from howdah.web.pages.creation import keep
from howdah.web.pages.databases import after
from howdah.web.pages.instance import head
from howdah.web.visit import NotAgreed, Sent, Shown, Visit


@dataclass(frozen=True)
class Row:
    """One user."""

    name: str
    databases: tuple[str, ...]
    owns: tuple[str, ...]


@dataclass(frozen=True)
class Users:
    """The list, the form to add one, and the one that is being changed."""

    name: str
    rows: tuple[Row, ...]
    databases: tuple[str, ...]
    typed: str
    chosen: tuple[str, ...]
    error: str
    hint: str
    editing: str
    leaving: str


def users(visit: Visit) -> Shown:
    """Show every user, with the databases that it may enter."""
    return _tab(visit, editing=visit.query.get("edit"))


def _tab(
    visit: Visit, *, typed: str = "", chosen: tuple[str, ...] = (), editing: str = "", leaving: str = "", refusal: Refusal | None = None
) -> Shown:
    seen, top = head(visit)
    want = seen.instance
    page = Users(
        name=want.name,
        rows=tuple(Row(u.name, u.databases, tuple(d.name for d in want.databases if d.owner == u.name)) for u in want.users),
        databases=tuple(d.name for d in want.databases),
        typed=typed,
        chosen=chosen,
        error=visit.say(refusal.message) if refusal is not None else "",
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
        editing=editing,
        leaving=leaving,
    )
    return Shown("users.html", page, say("Users"), 422 if refusal else 200, tab="users", head=top, refusal=refusal)


def change(visit: Visit) -> Shown | Sent:
    """Add a user, change rights or password, or delete one."""
    do, name, chosen = visit.form.get("do"), visit.form.get("user"), tuple(visit.form.all("database"))
    if do == "leave":
        return _tab(visit, leaving=name)
    try:
        return {"delete": _delete, "password": _password, "grant": _grant}.get(do, _add)(visit, name, chosen)
    except Refusal as refusal:
        adding = do not in ("delete", "password", "grant")
        return _tab(visit, typed=name if adding else "", chosen=chosen, editing="" if adding else name, refusal=refusal)


def _add(visit: Visit, name: str, chosen: tuple[str, ...]) -> Sent:
    given = visit.form.raw("password")
    words = " ".join([f"users add {visit.name} {name}", *(f"--database {each}" for each in chosen)])
    done = visit.service.add_user(visit.name, name, chosen, check_password(given) if given else None, visit.caller(words))
    sent = after(visit, "users add", words, done.operation, tab="users")
    if done.password is None:
        return sent
    return Sent(urls.once(keep(visit, done.password, visit.name, sent.url)), verb="users add", words=words)


def _password(visit: Visit, name: str, chosen: tuple[str, ...]) -> Sent:
    given = visit.form.raw("password")
    if not given and visit.form.get("agreed") != "yes":  # a slip of the finger: who typed a password has thought of it
        text = say("the present password of {user} is destroyed: its applications need the new one to log in", user=name)
        raise NotAgreed(Question(text))
    words = f"users password {visit.name} {name}"
    done = visit.service.set_password(visit.name, name, check_password(given) if given else None, visit.caller(words))
    sent = after(visit, "users password", words, done.operation, tab="users")
    if done.password is None:
        return sent
    return Sent(urls.once(keep(visit, done.password, visit.name, sent.url)), verb="users password", words=words)


def _delete(visit: Visit, name: str, chosen: tuple[str, ...]) -> Sent:
    words = f"users delete {visit.name} {name}"
    return after(visit, "users delete", words, visit.service.delete_user(visit.name, name, visit.caller(words)).operation, tab="users")


def _grant(visit: Visit, name: str, chosen: tuple[str, ...]) -> Sent:
    """Make the databases of a user just those that are ticked."""
    user = next((u for u in visit.service.store.find(visit.name).users if u.name == name), None)
    had = user.databases if user is not None else ()
    taken, given = [d for d in had if d not in chosen], [d for d in chosen if d not in had]
    operation, words = None, f"users grant {visit.name} {name}"
    if taken:
        words = " ".join([f"users revoke {visit.name} {name}", *(f"--database {each}" for each in taken)])
        operation = visit.service.grant(visit.name, name, taken, visit.caller(words), grant=False).operation
    if given or not taken:
        words = " ".join([f"users grant {visit.name} {name}", *(f"--database {each}" for each in given)])
        operation = visit.service.grant(visit.name, name, given, visit.caller(words)).operation
    return after(visit, "users grant", words, operation, tab="users")
