"""Making an instance: a name is enough, everything else has a default and is folded away."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.catalog.sizes import DEFAULT, SIZES
from howdah.core.instance import check_password
from howdah.core.wishes import Creation
from howdah.errors import Invalid, Refusal
from howdah.phrase import say
from howdah.secret import Secret
from howdah.web import urls
from howdah.web.desk import Once
from howdah.web.visit import NotAgreed, Sent, Shown, Visit

_FIELDS = (
    "name",
    "version",
    "size",
    "database",
    "user",
    "pool_mode",
    "max_client_conn",
    "listen_port",
    "port",
    "listen",
    "hostname",
    "allow",
)


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
        field=_field(refusal) if refusal is not None else "",
    )
    return Shown("create.html", page, say("Create an instance"), 422 if refusal is not None else 200, refusal=refusal)


def _field(refusal: Refusal) -> str:
    """Return the field that a refusal is about; empty where it is about the whole."""
    said = str(refusal.message)
    by_code = {
        "invalid_name": "name",
        "name_taken": "name",
        "unknown_size": "size",
        "no_postgresql": "version",
        "invalid_password": "password",
    }
    by_word = {"database": "database", "user": "user", "pool_mode": "pool_mode", "max_client_conn": "max_client_conn"}
    if refusal.code in by_code and "a database" not in said and "a user" not in said:
        return by_code[refusal.code]
    if refusal.code in ("port_taken", "invalid_port"):
        return "port"
    if refusal.code in ("unknown_parameter", "managed_parameter", "refused_parameter"):
        return "parameters"
    return next((field for word, field in by_word.items() if word in said), "")


def create(visit: Visit) -> Shown | Sent:
    """Make the instance; its password, if one was made, is shown once, while the rest goes on."""
    visit.require("member")
    values, text = {field: visit.form.get(field) for field in _FIELDS}, visit.form.get("parameters")
    pooler = visit.form.get("pooler") == "on"
    try:
        request = _request(visit, values, pooler=pooler)
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


def _request(visit: Visit, values: dict[str, str], *, pooler: bool) -> Creation:
    settings = {key: values[key] for key in ("pool_mode", "max_client_conn", "listen_port") if values[key]}
    return Creation(
        name=values["name"],
        version=visit.whole(values["version"], say("version")) if values["version"] else None,
        size=values["size"] or None,
        port=visit.whole(values["port"], say("port")) if values["port"] else None,
        listen=_words(values["listen"]),
        hostnames=_words(values["hostname"]),
        allow=_words(values["allow"]),
        parameters=_parameters(visit.form.get("parameters")),
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
