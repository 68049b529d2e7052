"""Every address of the console, each by a function: a page never writes one by hand."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from howdah import __version__

HOME = "/instances"
SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
CREATE = "/create"
ACCOUNT = "/account"
AUDIT = "/audit"
AUTHORITY = "/authority.crt"
TABS = (
    "overview",
    "parameters",
    "extensions",
    "databases",
    "users",
    "connect",
    "security",
    "monitoring",
    "operations",
    "logs",
)


def static(name: str) -> str:
    """Return the address of a file that pages need; another one for each release, so that it may be kept."""
    return f"/static/{name}?v={__version__}"


def instance(name: str) -> str:
    """Return the page of an instance."""
    return f"/instances/{quote(name, safe='')}"


def tab(name: str, which: str, **query: str) -> str:
    """Return one tab of an instance."""
    place = instance(name) if which == "overview" else f"{instance(name)}/{which}"
    return f"{place}?{urlencode(query)}" if query else place


def operation(name: str, number: int) -> str:
    """Return the story of one operation."""
    return f"{instance(name)}/operations/{number}"


def act(name: str, verb: str) -> str:
    """Return where a request about a whole instance is agreed to: start, stop, restart, delete, repair."""
    return f"{instance(name)}/{verb}"


def check(place: str) -> str:
    """Return where a form is told what is wrong with it while it is typed."""
    return f"{place}/check"


def once(number: str) -> str:
    """Return the page that shows a secret once."""
    return f"/once/{quote(number, safe='')}"
