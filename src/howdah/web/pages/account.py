"""One's own account: language, theme, password, sessions and tokens; for admins, who else may enter."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.core.people import MEANS, ROLES, Account, check_account_password
from howdah.errors import Refusal
from howdah.phrase import Phrase, say
from howdah.secret import Secret
from howdah.service.caller import Question
from howdah.web import urls
from howdah.web.desk import Once
from howdah.web.visit import NotAgreed, Sent, Shown, Visit

LANGUAGE_COOKIE = "howdah_language"
# marks in the words of browsers; who imitates another stands before it
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("YaBrowser/", "Yandex"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"), ("Linux", "Linux"))


@dataclass(frozen=True)
class Opened:
    """A session or token."""

    digest: str
    kind: str
    label: str
    since: tuple[str, str]  # as it is said, and for machines
    until: tuple[str, str]
    address: str
    own: bool


@dataclass(frozen=True)
class Person:
    """Somebody who may enter."""

    name: str
    role: str


@dataclass(frozen=True)
class OwnAccount:
    """The page."""

    name: str
    role: str
    means: str
    language: str
    theme: str
    opened: tuple[Opened, ...]
    people: tuple[Person, ...]
    roles: tuple[tuple[str, str], ...]
    error: str


def account(visit: Visit) -> Shown:
    """Show one's own account."""
    return _page(visit)


def _page(visit: Visit, refusal: Refusal | None = None) -> Shown:
    assert visit.visitor is not None
    own: Account = visit.desk.people.find(visit.account)
    opened = tuple(
        Opened(
            e.digest,
            e.kind,
            program(e.label),
            (visit.say.moment(e.since), visit.say.iso(e.since)),
            (visit.say.moment(e.until), visit.say.iso(e.until)),
            e.address,
            e.digest == visit.visitor.entry.digest,
        )
        for e in visit.desk.people.entries(visit.visitor)
    )
    page = OwnAccount(
        name=own.name,
        role=own.role,
        means=visit.say(MEANS[own.role]),
        language=own.language,
        theme=own.theme,
        opened=opened,
        people=tuple(Person(each.name, each.role) for each in visit.desk.people.all()) if visit.may("admin") else (),
        roles=tuple((role, visit.say(MEANS[role])) for role in ROLES),
        error=visit.say(refusal.message) if refusal is not None else "",
    )
    return Shown("account.html", page, say("Account"), 422 if refusal is not None else 200, refusal=refusal)


def change(visit: Visit) -> Shown | Sent:
    """Change what the form says."""
    try:
        return _CHANGES[visit.form.get("do")](visit)
    except KeyError:
        return _page(visit)
    except Refusal as refusal:
        return _page(visit, refusal)


def _prefer(visit: Visit) -> Sent:
    visit.desk.people.prefer(visit.account, visit.form.get("language"), visit.form.get("theme"))
    return Sent(urls.ACCOUNT)


def _password(visit: Visit) -> Sent:
    assert visit.visitor is not None
    new = check_account_password(visit.form.raw("new"))
    visit.desk.people.change_own_password(visit.visitor, Secret(visit.form.raw("old")), new)
    visit.notice(say("the password is changed; other sessions have ended"))
    return Sent(urls.ACCOUNT, verb="auth users password", about=visit.account)


def _token(visit: Visit) -> Sent:
    assert visit.visitor is not None
    label = visit.form.get("label") or "token"
    carried = visit.desk.people.add_token(visit.visitor.account, label, visit.address)
    number = visit.desk.onces.put(visit.account, Once(say("A token"), label, carried.reveal(), urls.ACCOUNT))
    return Sent(urls.once(number), verb="auth tokens add", about=label)


def program(label: str) -> str:
    """Return what people call the program that a session was opened with; a browser's own words for itself tell little and are long.

    >>> program("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"), program("curl/8")
    ('Chrome, Linux', 'curl/8')
    """
    if not label.startswith("Mozilla/"):
        return label
    browser = next((name for mark, name in _BROWSERS if mark in label), "")
    system = next((name for mark, name in _SYSTEMS if mark in label), "")
    return ", ".join(filter(None, (browser, system))) or label


def _ask(visit: Visit, text: Phrase) -> None:
    """Ask, unless that was agreed to on the page before."""
    if visit.form.get("agreed") != "yes":
        raise NotAgreed(Question(text))


def _end(visit: Visit) -> Sent:
    assert visit.visitor is not None
    digest = visit.form.get("digest")
    found = next((each for each in visit.desk.people.entries(visit.visitor) if each.digest == digest), None)
    if found is not None:
        _ask(visit, say("{label} is signed out at once, and cannot be taken back", label=program(found.label) or found.kind))
    visit.desk.people.end(visit.visitor, visit.form.get("digest"))
    return Sent(urls.ACCOUNT, verb="auth tokens delete")


def _add(visit: Visit) -> Sent:
    visit.require("admin")
    name, role = visit.form.get("name"), visit.form.get("role")
    made = visit.desk.people.add(name, role, None)
    assert made is not None
    return _shown_once(visit, say("The password of {user}", user=name), name, made, f"auth users add {name} --role {role}")


def _shown_once(visit: Visit, title: Phrase, name: str, made: Secret, words: str) -> Sent:
    number = visit.desk.onces.put(visit.account, Once(title, name, made.reveal(), urls.ACCOUNT))
    return Sent(urls.once(number), verb="auth users", about=name, words=words)


def _role(visit: Visit) -> Sent:
    visit.require("admin")
    name, role = visit.form.get("name"), visit.form.get("role")
    visit.desk.people.set_role(name, role)
    return Sent(urls.ACCOUNT, verb="auth users set", about=name, words=role)


def _reset(visit: Visit) -> Sent:
    visit.require("admin")
    name = visit.form.get("name")
    _ask(visit, say("the present password of {name} is destroyed, and its sessions end; the new one is shown to you once", name=name))
    made = visit.desk.people.set_password(name, None)
    assert made is not None
    return _shown_once(visit, say("The password of {user}", user=name), name, made, f"auth users password {name}")


def _delete(visit: Visit) -> Sent:
    visit.require("admin")
    name = visit.form.get("name")
    _ask(visit, say("the account {name} is deleted, with its sessions and tokens; the audit log keeps its name", name=name))
    visit.desk.people.delete(name)
    return Sent(urls.ACCOUNT, verb="auth users delete", about=name)


_CHANGES = {
    "prefer": _prefer,
    "password": _password,
    "token": _token,
    "end": _end,
    "add": _add,
    "role": _role,
    "reset": _reset,
    "delete": _delete,
}


def language(visit: Visit) -> Sent:
    """Remember a language before anybody has signed in."""
    return Sent(urls.SIGN_IN, language=visit.params["language"])
