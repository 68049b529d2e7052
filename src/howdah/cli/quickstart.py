"""quickstart: from nothing to an encrypted, pooled and verified PostgreSQL in one command; again, it takes seconds and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Annotated, Any

import typer

from howdah.cli import pages, shapes
from howdah.cli.proof import findings, verdict
from howdah.cli.request import Request
from howdah.cli.screen import Text
from howdah.cli.service import offer_boot
from howdah.cli.verb import verb
from howdah.errors import Failed, Invalid, NotFound, Unavailable
from howdah.phrase import say
from howdah.service.caller import Done, Seen

DemoName = Annotated[str, typer.Option("--name", metavar="NAME", help="the instance")]
DATABASE = USER = "demo"


@dataclass(frozen=True)
class Started:
    """What quickstart did and found."""

    done: Done
    seen: Seen
    report: Any
    connect: dict[str, str]
    ca_file: str
    seconds: float


@verb("quickstart", changes=True, asks=True, example="howdah quickstart")
def quickstart(request: Request, name: DemoName = "demo") -> None:
    """Make an encrypted, pooled instance with a database and a user, verify it, and tell how to connect. Again, it changes nothing."""
    if not request.waits:
        raise Invalid("usage", say("cannot leave quickstart to itself: it verifies what it made"), say("leave --no-wait out"))
    began = monotonic()
    _check_prerequisites(request)
    done = _made(request, name)
    started = _looked_at(request, done, began)
    passfile = request.service.host.passfile(done.instance, done.password[0]) if done.password is not None else None
    answer = {
        **shapes.change(done, passfile),
        "verify": started.report.to_json(),
        "connect": started.connect,
        "ca_file": started.ca_file,
        "seconds": round(started.seconds, 2),
    }
    request.screen.answer(answer, lambda: (*_page(request, started), *pages.after(request.screen, done, passfile, waits=True)))
    request.service.password_shown(done)
    offer_boot(request)
    if started.report.verdict == "refuted":
        raise Failed("refuted", say("cannot prove {name}", name=name), say("howdah verify {name} says why", name=name))


def _check_prerequisites(request: Request) -> None:
    """Refuse at once, with the one command to run, where a server is missing."""
    packages = [] if request.service.host.majors() else ["postgresql"]
    if not request.service.facts().pooler_version:
        packages.append("pgbouncer")
    if packages:
        names = " ".join(packages)
        hint = say("run: sudo apt-get install --no-install-recommends {packages}", packages=names)
        raise Unavailable("not_installed", say("cannot start: not installed: {packages}", packages=names), hint)


def _made(request: Request, name: str) -> Done:
    """Create the instance, or have the one that is there be as it was wanted: running, with what this command promises."""
    from howdah.core.wishes import Creation

    service, caller = request.service, replace(request.caller, wait=True)
    try:
        want = service.show(name).instance
    except NotFound:
        creation = Creation(name=name, extensions={"pooler": {}}, database=DATABASE, user=USER)
        return service.create(creation, caller)
    if want.state != "running":
        return service.start(name, caller)
    return service.create(Creation(name=want.name), caller)


def _looked_at(request: Request, done: Done, began: float) -> Started:
    from howdah import compose

    name = done.instance.name
    request.screen.progress.tell(say("verifying {name}", name=name))
    report = compose.verify(request.home, name)
    vias = ["direct", *(["pooled"] if done.instance.pooler is not None else [])]
    targets = {via: request.service.target(name, via, None, None, None) for via in vias}
    texts = {via: compose.snippet("psql", target).text.strip() for via, target in targets.items()}
    ca_file = str(request.service.authority().file)
    return Started(done, request.service.show(name), report, texts, ca_file, monotonic() - began)


def _page(request: Request, started: Started) -> Iterator[Text]:
    screen, name = request.screen, started.done.instance.name
    steps = started.done.operation.story if started.done.operation is not None else ()
    if steps:
        yield say("what was done:")
        yield from pages.steps(screen, steps)
    else:
        yield say("{name} is as it was wanted: nothing to do", name=name)
    yield from pages.card(screen, started.seen)
    refuted = started.report.verdict == "refuted"
    yield from findings(screen, started.report) if refuted else [verdict(screen, started.report)]
    for via, text in started.connect.items():
        yield say("connect {via}:", via=via)
        yield f"  {text}"
    yield say("the CA's certificate, for clients elsewhere: {file}", file=started.ca_file)
    yield say("delete it: howdah delete {name}", name=name)
    yield say("took {seconds} s", seconds=f"{started.seconds:.1f}")
