"""Signing in and out."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.errors import Invalid, Refusal, Unavailable
from howdah.phrase import say
from howdah.secret import Secret
from howdah.web import urls
from howdah.web.visit import Sent, Shown, Visit


@dataclass(frozen=True)
class SignIn:
    """The form that everybody begins with."""

    name: str
    to: str
    error: str


def form(visit: Visit) -> Shown | Sent:
    """Show the form, or go on where somebody is signed in."""
    to = _inside(visit.query.get("to"))
    if visit.visitor is not None:
        return Sent(to)
    return _form(visit, "", to)


def _form(visit: Visit, name: str, to: str, refusal: Refusal | None = None) -> Shown:
    error = visit.say(refusal.message) if refusal is not None else ""
    status = 200 if refusal is None else 429 if isinstance(refusal, Unavailable) else 422
    return Shown("signin.html", SignIn(name, to, error), say("Sign in"), status, refusal=refusal)


def sign_in(visit: Visit) -> Shown | Sent:
    """Let somebody in who knows the password."""
    name, to = visit.form.get("name"), _inside(visit.form.get("to"))
    try:
        carried = visit.desk.people.sign_in(name, Secret(visit.form.raw("password")), visit.address, visit.program)
    except (Invalid, Unavailable) as refusal:
        return _form(visit, name, to, refusal)
    return Sent(to, cookie=carried.reveal())


def sign_out(visit: Visit) -> Sent:
    """End the session."""
    if visit.visitor is not None:
        visit.desk.people.sign_out(visit.visitor)
    return Sent(urls.SIGN_IN, cookie="")


def _inside(to: str) -> str:
    """Return an address to go on to: of this console, never of another site."""
    fit = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() and to not in ("/", urls.SIGN_OUT)
    return to if fit else urls.HOME
