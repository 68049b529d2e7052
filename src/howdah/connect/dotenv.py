"""A .env file: the URL for the application, the one for migrations, and the passfile; read by dotenv libraries, Compose, and shells.

Every value stands in single quotes, within which all of them take each character for itself; a URL has its own percent-encoding, so that
no quote is in it. `docker run --env-file` alone knows no quotes. The words of the URL are libpq's, and those that drivers share.
"""

from __future__ import annotations

from urllib.parse import quote

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the file."""
    text = "".join(f"{name}='{value}'\n" for name, value in variables(target).items())
    docker = say("docker run --env-file takes the quotes for a part of the value: take them away there")
    other = say("other drivers take the same URL, but sslrootcert is libpq's, and sslmode may mean something else to them")
    notes = (*_libpq.notes(target, binds=False), other, docker)
    return Snippet("dotenv", say("file .env"), "ini", text, ".env", notes=notes)


def variables(target: Target) -> dict[str, str]:
    """Return the variables, unquoted."""
    found = {"DATABASE_URL": url(target)}
    if target.direct is not None:
        found["DIRECT_URL"] = url(target.unpooled)
    if target.passfile is not None and target.password is None:
        _driver.refuse_characters(target, "'", ".env", str(target.passfile))
        found["PGPASSFILE"] = str(target.passfile)
    return found


def url(target: Target) -> str:
    """Return a URL with the words that most drivers know, and the password where the target has one."""
    pairs = {key: value for key, value in _libpq.keywords(target).items() if key not in ("channel_binding", "passfile")}
    scheme, who, rest = _libpq.uri(pairs).partition("@")  # a user's own @ is percent-encoded
    secret = f":{quote(target.password.reveal(), safe='')}" if target.password is not None else ""
    return f"{scheme}{secret}{who}{rest}"
