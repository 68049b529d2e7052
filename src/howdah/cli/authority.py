"""ca and certificates: who vouches for the servers, what they serve, and how both are renewed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.endpoints import hops
from howdah.cli.request import Request
from howdah.cli.screen import Screen, Text
from howdah.cli.verb import Name, verb
from howdah.core import rotation
from howdah.core.rotation import Bundle
from howdah.errors import Failed
from howdah.phrase import Phrase, say
from howdah.service.rotation import Turned

Via = Annotated[str | None, typer.Option("--via", metavar="pooled|direct", help="one way only; both if not said")]


@verb("ca show", example="howdah ca show --json")
def show(request: Request) -> None:
    """Show the certificate authority. Clients verify with it. It tells its file, its fingerprint and where a change of it stands."""
    found = request.reading.authority()
    request.screen.answer(shapes.authority(found), lambda: _lines(found))


def _lines(found: Bundle) -> Iterator[Text]:
    yield say("file         {file}", file=found.file)
    yield say("fingerprint  {fingerprint}", fingerprint=found.fingerprint)
    yield say("good until   {until}", until=shapes.moment(found.not_after))
    if found.other is not None:
        until = shapes.moment(found.other.not_after)
        if found.phase == "switched":
            yield say("previous     {fingerprint}, until {until}", fingerprint=found.other.fingerprint, until=until)
        else:
            yield say("successor    {fingerprint}, until {until}", fingerprint=found.other.fingerprint, until=until)
    yield rotation.stands(found)


@verb("ca rotate", example="howdah ca rotate")
def rotate(request: Request) -> None:
    """Announce a successor of the authority: clients get a file that holds both, and servers go on as they are."""
    _turned(request, request.service.announce_authority())


@verb("ca switch", changes=True, asks=True, example="howdah ca switch --yes")
def switch(request: Request) -> None:
    """Let the successor issue, and every server serve a certificate of it. Clients must have the new file by then, so it asks."""
    _turned(request, request.service.switch_authority(request.caller))


@verb("ca finish", changes=True, asks=True, example="howdah ca finish --yes")
def finish(request: Request) -> None:
    """Take the previous authority out of the file and destroy its key. It is refused while a server still needs it."""
    _turned(request, request.service.finish_authority(request.caller))


@verb("ca recall", changes=True, example="howdah ca recall")
def recall(request: Request) -> None:
    """Go one turn back. The previous authority issues again, or a successor that was only announced is given up."""
    _turned(request, request.service.recall_authority(request.caller))


def _turned(request: Request, turned: Turned) -> None:
    def lines() -> Iterator[Text]:
        yield from _lines(turned.bundle)
        for done in turned.followed:
            yield say("{name}: serves what the authority issues ({duration})", name=done.instance.name, duration=pages.took(done))

    request.screen.answer(shapes.authority(turned.bundle) | {"instances": shapes.repairs(turned.followed)}, lines)
    for name, refusal in turned.failed:
        request.screen.note(say("{name}: {reason}", name=name, reason=refusal.message))
    if turned.failed:
        names = ", ".join(name for name, _ in turned.failed)
        raise Failed(
            "not_followed", say("cannot have {names} follow the authority", names=names), say("howdah repair --all brings them after it")
        )


@verb("certificates list", example="howdah certificates list shop")
def list_(request: Request, name: Name) -> None:
    """List the certificates of an instance. It tells which is served, who issued it, and how long it is good for."""
    rows = [shapes.certificate(hop, pair, served) for hop, pair, served in request.reading.certificates(name)]
    request.screen.answer(rows, lambda: pages.table([_row(request.screen, row) for row in rows]))


def _row(screen: Screen, row: shapes.Shape) -> tuple[str, ...]:
    served = screen.paint(say("served"), "green") if row["served"] else screen.paint(say("kept"), "dim")
    issuer = screen.text(_ISSUERS[row["issuer"]])
    return str(row["hop"]), served, str(row["serial"]), screen.text(say("until {moment}", moment=row["not_after"])), issuer


_ISSUERS: Mapping[str, Phrase] = {
    "current": say("by the authority"),
    "other": say("by the other authority, which clients believe still or already"),
    "unknown": say("by an authority that clients do not know"),
}


@verb("certificates renew", changes=True, example="howdah certificates renew shop")
def renew(request: Request, name: Name, via: Via = None) -> None:
    """Issue the certificates of an instance anew, and serve them by a reload. No session ends, and clients need nothing new."""
    done = request.service.renew(name, hops(via), request.caller)
    request.finish(done, pages.changes(request.screen, done))
