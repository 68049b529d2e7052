"""ca and doctor: what this machine is and has."""

from __future__ import annotations

from howdah.cli import shapes
from howdah.cli.request import Request
from howdah.cli.verb import verb
from howdah.phrase import say


@verb("ca show", example="howdah ca show --json")
def show(request: Request) -> None:
    """Show the certificate authority. Clients verify with it. It tells its file, its fingerprint and how long it is good for."""
    found = shapes.authority(request.service.authority())
    lines = [
        say("file         {file}", file=found["file"]),
        say("fingerprint  {fingerprint}", fingerprint=found["fingerprint"]),
        say("good until   {until}", until=found["not_after"]),
    ]
    request.screen.answer(found, lambda: lines)
