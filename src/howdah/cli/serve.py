"""serve: the loop, kept running, with the console beside it."""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from howdah import settings
from howdah.cli.request import Request
from howdah.cli.screen import Text
from howdah.cli.verb import verb
from howdah.errors import Invalid
from howdah.phrase import say
from howdah.secret import Secret

if TYPE_CHECKING:
    from howdah.web.server import Listen

DEFAULT = "127.0.0.1:8779"

Place = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="where the console is reached")]
Certificate = Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help="a certificate of yours, with its chain (PEM)")]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="its key (PEM)")]
Plaintext = Annotated[bool, typer.Option("--plaintext", help="no TLS, on any address: passwords can then be read on the way")]


@verb("serve", example="howdah serve")
def serve(
    request: Request, listen: Place = DEFAULT, certificate: Certificate = None, key: Key = None, plaintext: Plaintext = False
) -> None:
    """Keep every instance as it is wanted, and serve the console. It looks at each instance every second, and puts right what differs.

    SIGTERM ends it in good order; the servers go on. The first start makes the account `admin`, with the password in HOWDAH_ADMIN_PASSWORD
    or one that it prints once. On an address that others reach it speaks TLS, by Howdah's own authority or with a certificate of yours; a
    renewed one is taken up while it runs, at once by SIGHUP.
    """
    where = _where(request, listen, certificate, key, plaintext=plaintext)
    from howdah.web import server

    settings.log_bytes()
    _log_to_stderr()
    made = first_account(request)

    def ready() -> None:
        request.screen.answer({"url": where.url, "password": made.reveal() if made is not None else None}, lambda: _ready(where, made))

    server.run(request.home, where, trash_seconds=settings.trash_seconds(), ready=ready)


def first_account(request: Request) -> Secret | None:
    """Make the account `admin` where there is none; return its password where one had to be made."""
    from howdah import compose

    given = os.environ.pop("HOWDAH_ADMIN_PASSWORD", "")
    people = compose.people(request.home)
    try:
        return people.begin(Secret(given) if given else None)
    finally:
        people.register.close()


def _ready(where: Listen, made: Secret | None) -> list[Text]:
    lines: list[Text] = [say("console  {url}", url=where.url)]
    if made is not None:
        lines.append(say("password for admin: {password}", password=made.reveal()))
        lines.append(say("it is not shown again; howdah auth users password admin makes another"))
    return lines


def _where(request: Request, listen: str, certificate: Path | None, key: Path | None, *, plaintext: bool) -> Listen:
    from howdah import compose
    from howdah.web.server import Listen

    host, port = place(listen)
    if (certificate is None) != (key is None):
        raise Invalid("usage", say("cannot use a certificate without its key, or a key without its certificate"))
    if plaintext and certificate is not None:
        raise Invalid("usage", say("cannot use both --plaintext and --certificate"))
    if certificate is None and not plaintext and not ipaddress.ip_address(host).is_loopback:
        certificate, key = compose.console_pair(request.home, host)
        return Listen(host, port, certificate, key, own=True)
    return Listen(host, port, certificate, key)


def place(listen: str) -> tuple[str, int]:
    """Return an address and a port to listen on, or refuse what is none."""
    host, _, port = listen.rpartition(":")
    host = {"localhost": "127.0.0.1"}.get(host, host.removeprefix("[").removesuffix("]"))
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        number = -1
    if not 0 < number < 65536:
        hint = say("give an address and a port, such as 127.0.0.1:8779, or 0.0.0.0:8779 for all addresses")
        raise Invalid("invalid_listen", say("cannot listen on {place}", place=repr(listen[:80])), hint)
    return host, number


def _log_to_stderr() -> None:
    """Write one line for each pass: with the time, where systemd's journal does not add it."""
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{stamp}%(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
