"""service: whether systemd starts what is wanted at boot and stops it in good order at shutdown; and the end of every server till then."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.screen import Text
from howdah.cli.verb import verb
from howdah.errors import Failed, Refusal
from howdah.phrase import say
from howdah.service.caller import Caller, Done, Question

if TYPE_CHECKING:
    from howdah.core.boot import BootSeen
    from howdah.secret import Secret

# all of them at once: a shutdown checkpoint takes as long as the disk needs, and systemd waits for the sum
_AT_ONCE = 16
# a command that holds an instance at a shutdown is itself being ended
_PATIENCE_SECONDS = 10.0


Serve = Annotated[
    str | None, typer.Option("--serve", metavar="HOST:PORT", help="keep howdah serve running, too, with its console at this address")
]


@verb("service install", asks=True, example="howdah service install --serve 127.0.0.1:8779")
def install(request: Request, serve: Serve = None) -> None:
    """Have systemd start what is wanted at boot, and stop it in good order at shutdown. A timer repairs daily, and so renews certificates.

    With --serve a unit keeps the loop and the console running, which puts right at once what differs; it makes the account `admin` where
    there is none, with the password in HOWDAH_ADMIN_PASSWORD or one that it prints once.
    As an ordinary user it asks first, for then your servers also run while you are logged out (lingering).
    """
    from howdah import compose

    before = compose.boot_seen(request.home)
    if before.systemd and before.lingering is False:
        request.caller.confirm(Question(say("your servers will run while you are logged out (lingering), and start at boot without you")))
    request.screen.progress.tell(say("telling systemd"))
    made: Secret | None = None
    if serve is not None:
        from howdah.cli.serve import first_account, place

        place(serve)
        if before.systemd:
            made = first_account(
                request
            )  # here, where a person reads it: what the unit prints stands in the journal, for all who read that
    try:
        compose.install_boot(request.home, serve)
    except Refusal:
        if made is not None:
            request.screen.note(say("password for admin: {password}", password=made.reveal()))
        raise
    seen = compose.boot_seen(request.home)
    so = before.current and before.active and serve in (None, before.serve)
    first: list[Text] = [say("nothing to change: it is so already") if so else say("{unit} is installed", unit=seen.unit)]
    if made is not None:
        first += [say("password for admin: {password}", password=made.reveal()), say("it is not shown again")]
    shown = {"password": made.reveal()} if made is not None else {}
    request.screen.answer({**shape(seen), **shown}, lambda: [*first, *_lines(seen)])


@verb("service status", example="howdah service status --json")
def status(request: Request) -> None:
    """Tell whether servers start at boot. It says which units lie where, and whether a shutdown will stop the servers in good order."""
    from howdah import compose

    seen = compose.boot_seen(request.home)
    request.screen.answer(shape(seen), lambda: _lines(seen))


@verb("service remove", example="howdah service remove")
def remove(request: Request) -> None:
    """Take away what `service install` made. Nothing of it is left; what runs goes on, until the machine is shut down."""
    from howdah import compose

    before = compose.boot_seen(request.home)
    there = compose.remove_boot(request.home)
    seen = compose.boot_seen(request.home)
    first = say("{unit} is removed; servers that run go on", unit=before.unit) if there else say("nothing to change: it is so already")
    gone = [say("removed  {path}", path=path) for path in before.files]
    lines = (
        [say("lingering is switched off again: logging out may now end your servers")] if before.lingering and not seen.lingering else []
    )
    request.screen.answer({**shape(seen), "removed": list(before.files)}, lambda: [first, *gone, *lines])


@verb("service down", asks=True, example="howdah service down --yes")
def down(request: Request) -> None:
    """Stop every server, poolers first, and change nothing of what is wanted. `repair --all` starts them again, as a boot does.

    systemd runs it at shutdown; a container without systemd can, too. Sessions connected now are ended, so it asks if there are any.
    """
    every = [seen.instance for seen in request.service.all()]
    if not request.yes:
        sessions = tuple(session for each in every for session in request.service.sessions(each))
        request.service.ask_to_end(sessions, say("this ends the sessions connected now"), request.caller)
    request.screen.progress.tell(say("stopping every server"))
    caller = replace(request.caller, patience=_PATIENCE_SECONDS, tell=lambda _: None)
    with ThreadPoolExecutor(_AT_ONCE) as at_once:
        ended = list(at_once.map(lambda want: _down(request, want.name, caller), every))
    done = [each for each in ended if isinstance(each, Done)]
    failed = [(want.name, each) for want, each in zip(every, ended, strict=True) if isinstance(each, Refusal)]
    for name, refusal in failed:
        request.screen.note(say("{name}: {reason}", name=name, reason=refusal.message))
    request.screen.answer(shapes.repairs(done), lambda: [line for each in done for line in _ended(request, each)])
    if failed:
        names = ", ".join(name for name, _ in failed)
        raise Failed("not_stopped", say("cannot stop {names}", names=names), say("howdah operations {name} tells why", name=failed[0][0]))


def _down(request: Request, name: str, caller: Caller) -> Done | Refusal:
    """End one instance's processes; in a thread of its own, so with a store of its own."""
    from howdah import compose

    try:
        return compose.service(request.home).down(name, caller)
    except Refusal as refusal:
        return refusal


def _ended(request: Request, done: Done) -> Iterator[Text]:
    steps = done.operation.story if done.operation is not None else ()
    name = done.instance.name
    if not steps:
        yield say("{name}: nothing runs", name=name)
        return
    yield say("{name}: stopped in {duration}", name=name, duration=pages.took(done))
    yield from pages.steps(request.screen, steps)


def offer_boot(request: Request) -> None:
    """Offer `service install` where it would change something: asked on a terminal, done with --yes, else only mentioned."""
    from howdah import compose

    seen = compose.boot_seen(request.home)
    if not seen.systemd or seen.current:
        return
    if not request.agrees(_OFFER if seen.lingering is not False else _OFFER_LINGERING):
        request.screen.note(say("after a reboot nothing starts by itself; howdah service install changes that"))
        return
    try:
        compose.install_boot(request.home)
        request.screen.note(say("{unit} is installed", unit=seen.unit))
    except Refusal as refusal:  # the instance is there all the same
        request.screen.note(say("{reason}; {hint}", reason=refusal.message, hint=refusal.hint) if refusal.hint else refusal.message)


_OFFER = say("systemd can start your instances at boot, and stop them in good order at shutdown (howdah service install)")
_OFFER_LINGERING = say(
    "systemd can start your instances at boot, stop them in good order at shutdown, and let them run while you are logged out "
    "(howdah service install)"
)


def shape(seen: BootSeen) -> dict[str, Any]:
    """Return whether servers start at boot, and by what."""
    return {
        "systemd": seen.systemd,
        "kind": "user" if seen.personal else "system",
        "unit": seen.unit,
        "installed": bool(seen.files),
        "current": seen.current,
        "active": seen.active,
        "serve": seen.serve or None,
        "lingering": seen.lingering,
        "files": list(seen.files),
    }


def _lines(seen: BootSeen) -> Iterator[Text]:
    if not seen.systemd:
        yield say("systemd does not run this machine: let cron run howdah repair --all @reboot and @daily")
    elif not seen.files:
        yield say("{unit} is not installed: nothing starts at boot; howdah service install changes that", unit=seen.unit)
    if not seen.files:
        return
    if seen.current:
        yield say("at boot      what is wanted is started")
        yield say("each day     every instance is repaired, and its certificates renewed")
    else:
        yield say("the units are not as this howdah writes them; howdah service install puts them right")
    yield say(
        "at shutdown  {what}", what=say("the servers are stopped in good order") if seen.active else say("nothing: the unit is not active")
    )
    if seen.serve:
        yield say("always       the loop runs, with the console at {place}", place=seen.serve)
    if seen.lingering is not None:
        yield say(
            "logged out   {what}", what=say("they go on (lingering)") if seen.lingering else say("nothing is started, and servers may end")
        )
    yield from (f"  {path}" for path in seen.files)
