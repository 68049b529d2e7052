"""Making an instance: a name is enough, everything else has a default and is folded away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from howdah.catalog.sizes import DEFAULT, SIZES
from howdah.core.instance import check_password
from howdah.core.wishes import Creation
from howdah.errors import Invalid, Refusal
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service import faults
from howdah.web import urls
from howdah.web.desk import Once
from howdah.web.visit import Given, NotAgreed, Sent, Shown, Visit

_POOLER_FIELDS = ("pool_mode", "max_client_conn", "listen_port")
_OF_PARAMETERS = ("unknown_parameter", "managed_parameter", "refused_parameter", "refused_by_postgres")
_FIELDS = ("name", "version", "size", "database", "user", *_POOLER_FIELDS, "port", "listen", "hostname", "allow")


@dataclass(frozen=True)
class Making:
    """The form."""

    values: dict[str, str]
    pooler: bool
    parameters: str
    versions: tuple[int, ...]
    sizes: tuple[tuple[str, str], ...]
    modes: tuple[str, ...]
    error: str
    hint: str
    field: str  # beside which the error stands


def form(visit: Visit) -> Shown:
    """Show the form."""
    visit.require("member")
    values = dict.fromkeys(_FIELDS, "") | {"size": DEFAULT, "database": "app", "user": "app"}
    return _form(visit, values, pooler=True, parameters="")


def _form(visit: Visit, values: dict[str, str], *, pooler: bool, parameters: str, refusal: Refusal | None = None) -> Shown:
    page = Making(
        values=values,
        pooler=pooler,
        parameters=parameters,
        versions=tuple(sorted(visit.service.host.majors(), reverse=True)),
        sizes=tuple((name, visit.say(size.sentence)) for name, size in SIZES.items()),
        modes=("session", "transaction", "statement"),
        error=visit.say(refusal.message) if refusal is not None else "",
        hint=visit.say(refusal.hint) if refusal is not None and refusal.hint is not None else "",
        field=_field(refusal, values) if refusal is not None else "",
    )
    return Shown("create.html", page, say("Create an instance"), 422 if refusal is not None else 200, refusal=refusal)


def _field(refusal: Refusal, values: Mapping[str, str]) -> str:
    """Return the field that a refusal is about; empty where it is about the whole."""
    said = str(refusal.message)
    if refusal.code in _OF_PARAMETERS or (refusal.code == "invalid_value" and said.startswith("cannot set ")):
        own = next((field for field in _POOLER_FIELDS if f" {field}=" in said), "")
        return own or "parameters"
    by_code = {
        "invalid_name": "name",
        "name_taken": "name",
        "unknown_size": "size",
        "no_postgresql": "version",
        "invalid_password": "password",
        "address_not_here": "listen",
    }
    by_word = {field: field for field in ("database", "user", *_POOLER_FIELDS)}
    if refusal.code in by_code and "a database" not in said and "a user" not in said:
        return by_code[refusal.code]
    if refusal.code in ("port_taken", "invalid_port"):
        return "listen_port" if values["listen_port"] and values["listen_port"] in said else "port"
    return next((field for word, field in by_word.items() if word in said), "")


def check(visit: Visit) -> Given:
    """Say what is wrong with what is typed so far."""
    values, pooler = {field: visit.form.get(field) for field in _FIELDS}, visit.form.get("pooler") == "on"
    text, password = visit.form.get("parameters"), visit.form.raw("password")
    seen = {field: faults.told(partial(_alone, visit, field, values[field])) for field in _FIELDS if values[field]}
    seen["password"] = faults.told(lambda: check_password(password)) if password else None
    seen["parameters"] = faults.told(lambda: _first_values(visit, values["version"], text)) if text else None
    found = {field: refusal for field, refusal in seen.items() if refusal is not None and (pooler or field not in _POOLER_FIELDS)}
    if not found and values["name"]:
        refusal = faults.of_creation(visit.service, _request(visit, values, pooler=pooler, parameters=text))
        found |= {_field(refusal, values): refusal} if refusal is not None else {}
    return visit.faults(found)


def _alone(visit: Visit, field: str, value: str) -> None:
    """Refuse what is wrong with one field, whatever stands in the others; a user needs a database."""
    others = {**dict.fromkeys(_FIELDS, ""), "name": "x", "database": "x" if field == "user" else ""}
    _request(visit, {**others, field: value}, pooler=True, parameters="").checked()


def _first_values(visit: Visit, version: str, text: str) -> None:
    major = visit.whole(version, say("version")) if version else None
    for refusal in faults.of_first_values(visit.service, major, _parameters(text)).values():
        raise refusal


def create(visit: Visit) -> Shown | Sent:
    """Make the instance; its password, if one was made, is shown once, while the rest goes on."""
    visit.require("member")
    values, text = {field: visit.form.get(field) for field in _FIELDS}, visit.form.get("parameters")
    pooler = visit.form.get("pooler") == "on"
    try:
        request = _request(visit, values, pooler=pooler, parameters=text)
        password = visit.form.raw("password")
        given = check_password(password) if password else None
        words = f"create {request.name}"
        done = visit.service.create(request, visit.caller(words, agreed=visit.form.get("agreed") == "yes"), given)
    except NotAgreed:
        raise
    except Refusal as refusal:
        return _form(visit, values, pooler=pooler, parameters=text, refusal=refusal)
    after = urls.operation(done.instance.name, done.operation.id) if done.operation is not None else urls.instance(done.instance.name)
    if done.password is None:
        return Sent(after, verb="create", about=done.instance.name, words=words)
    return Sent(urls.once(keep(visit, done.password, done.instance.name, after)), verb="create", about=done.instance.name, words=words)


def keep(visit: Visit, password: tuple[str, Secret], instance: str, after: str) -> str:
    """Keep a password that was made until it has been shown; return by which number."""
    user, secret = password
    return visit.desk.onces.put(
        visit.account,
        Once(say("The password of {user}", user=user), user, secret.reveal(), after, instance, str(_passfile(visit, instance, user))),
    )


def _passfile(visit: Visit, instance: str, user: str) -> str:
    there = visit.service.known(instance)
    found = visit.service.host.passfile(there, user) if there is not None else None
    return str(found) if found is not None else ""


def _request(visit: Visit, values: Mapping[str, str], *, pooler: bool, parameters: str) -> Creation:
    settings = {key: values[key] for key in _POOLER_FIELDS if values[key]}
    return Creation(
        name=values["name"],
        version=visit.whole(values["version"], say("version")) if values["version"] else None,
        size=values["size"] or None,
        port=visit.whole(values["port"], say("port")) if values["port"] else None,
        listen=_words(values["listen"]),
        hostnames=_words(values["hostname"]),
        allow=_words(values["allow"]),
        parameters=_parameters(parameters),
        extensions={"pooler": settings} if pooler else {},
        database=values["database"] or None,
        user=values["user"] or None,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _parameters(text: str) -> dict[str, str]:
    """Read lines of name=value."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise Invalid("invalid_value", say("cannot read the parameter {line}: expected name=value", line=repr(line[:80])))
        found[name.strip()] = value.strip()
    return found
