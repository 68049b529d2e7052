"""verify and connect: what is proven of an instance, and what each client writes to reach it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from howdah import compose
from howdah.cli import shapes
from howdah.cli.request import Request
from howdah.cli.screen import Screen, Text
from howdah.cli.verb import Name, verb
from howdah.core.instance import shown
from howdah.errors import Failed, Invalid
from howdah.phrase import Phrase, say

Client = Annotated[str, typer.Option("--client", metavar="CLIENT", help=", ".join(compose.clients()))]
Via = Annotated[
    str | None, typer.Option("--via", metavar="pooled|direct", help="through the pooler or past it; pooled where there is a pooler")
]
Database = Annotated[str | None, typer.Option("--database", metavar="D", help="the database; the user's first one if not said")]
User = Annotated[str | None, typer.Option("--user", metavar="U", help="the user; the first one if not said")]
SslMode = Annotated[
    str | None, typer.Option("--sslmode", metavar="require|verify-full", help="verify-full if not said: who answers is verified, too")
]
WriteService = Annotated[
    bool, typer.Option("--write-service", help="write nothing but a section into your pg_service.conf, and the password into your passfile")
]
WithPassword = Annotated[bool, typer.Option("--with-password", help="put the password itself into the text, where it is kept here")]
Into = Annotated[
    Path | None, typer.Option("--into", metavar="DIR", help="write the text's files into a directory (0600); none is overwritten")
]
RemoveService = Annotated[bool, typer.Option("--remove-service", help="take both out of them again, also when the instance is gone")]
Receipt = Annotated[
    Path | None, typer.Option("--receipt", metavar="FILE", help="also write what was found, with all that an auditor needs, as JSON")
]
RESULTS: Mapping[str, tuple[Phrase, str]] = {
    "pass": (say("pass"), "green"),
    "fail": (say("FAIL"), "red"),
    "warn": (say("warn"), "yellow"),
    "skip": (say("skip"), "dim"),
}


@verb("verify", example="howdah verify shop")
def verify(request: Request, name: Name, receipt: Receipt = None) -> None:
    """Prove that connections are encrypted, authenticated and pooled. It looks from a client's seat, over the wire, on both hops."""
    put = compose.receipt_place(receipt) if receipt is not None else None
    request.screen.progress.tell(say("verifying {name}", name=name))
    report, make_receipt = compose.prove(request.home, name)
    request.screen.answer(report.to_json(), lambda: findings(request.screen, report))
    if put is not None:
        put(text := json.dumps(make_receipt(), indent=2, ensure_ascii=False) + "\n")
        digest = hashlib.sha256(text.encode()).hexdigest()
        request.screen.note(request.screen.text(say("receipt: {file}, SHA-256 {digest}", file=receipt, digest=digest)))
    if report.verdict == "refuted":
        count = sum(line.finding.result == "fail" for line in report.checks)
        hint = say("each failed check above says what to do")
        raise Failed("refuted", say("cannot prove {name}: failed checks: {count}", name=name, count=count), hint)


def findings(screen: Screen, report: Any) -> Iterator[str]:
    """Return a line for each check, what to do about those that need it, and the verdict."""
    for line in report.checks:
        found = line.finding
        yield f"{screen.paint(*RESULTS[found.result])}  {line.hop:<8}  {screen.text(line.check.title)}: {screen.text(found.evidence)}"
        if found.fix is not None and found.result in ("fail", "warn"):
            yield f"      → {screen.text(found.fix)}"
    yield verdict(screen, report)


def verdict(screen: Screen, report: Any) -> str:
    """Return the verdict in one line."""
    results = [line.finding.result for line in report.checks]
    counts = say(
        "passed {passed}, failed {failed}, warnings {warned}, skipped {skipped}",
        passed=results.count("pass"),
        failed=results.count("fail"),
        warned=results.count("warn"),
        skipped=results.count("skip"),
    )
    proven = report.verdict == "proven"
    word = screen.paint(say("proven") if proven else say("refuted"), "green" if proven else "red")
    return f"{report.instance}: {word} ({screen.text(counts)})"


@verb("connect", example="howdah connect shop --client uri --via pooled")
def connect(
    request: Request,
    name: Name,
    client: Client = "psql",
    via: Via = None,
    database: Database = None,
    user: User = None,
    sslmode: SslMode = None,
    write_service: WriteService = False,
    remove_service: RemoveService = False,
    with_password: WithPassword = False,
    into: Into = None,
) -> None:
    """Write what a client needs to connect: a command, a string or a program, right for its driver and for the pool mode."""
    from howdah.cli import services

    one_of("--via", via, ("pooled", "direct"))
    one_of("--sslmode", sslmode, ("require", "verify-full"))
    if remove_service:
        return services.remove(request, name)
    target = request.reading.target(name, via, database, user, sslmode)
    if write_service:
        return services.write(request, name, target)
    if with_password:
        target = compose.with_password(request.home, request.reading.found(name), target)
    found = compose.snippet(client, target)
    if into is not None:
        return _written(request, compose.write_files(into, found))
    apart = compose.snippet(client, target.unpooled) if target.pooled else None
    shape = {**_shape(found, target), "migrations": apart.text if apart is not None else None}
    request.screen.answer(shape, lambda: found.text.removesuffix("\n").split("\n"))
    for note in (*_needs(found), *found.notes, *_apart(target, client)):
        request.screen.note(_remark(request.screen, note))
    return None


def _written(request: Request, paths: list[str]) -> None:
    request.screen.answer({"written": paths}, lambda: [say("wrote {path}", path=path) for path in paths])


def _needs(found: shapes.Snippet) -> Iterator[Phrase]:
    if found.needs:
        yield say("it needs {packages}", packages=", ".join(found.needs))


def _apart(target: Any, client: str) -> Iterator[Phrase]:
    """Say where the other of the pair is, where the pool mode makes it needed."""
    if target.shares:
        command = f"howdah connect {target.instance} --client {client} --via direct"
        yield say("for migrations, and for sessions of their own: {command}", command=command)


def one_of(option: str, word: str | None, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of these."""
    if word is not None and word not in choices:
        expected = ", ".join(choices)
        raise Invalid(
            "usage", say("cannot use {option} {word}: expected one of {choices}", option=option, word=shown(word) or "''", choices=expected)
        )


def _shape(found: shapes.Snippet, target: Any) -> shapes.Shape:
    place = target.endpoint
    said = {"instance": target.instance, "via": place.kind, "host": place.host, "port": place.port, "sslmode": target.sslmode}
    who = {"database": target.database, "user": target.user, "ca_file": str(target.ca_file)}
    passfile = str(target.passfile) if target.passfile is not None else None
    return {**said, **who, "passfile": passfile, **shapes.snippet(found)}


def _remark(screen: Screen, note: Text) -> str:
    return screen.paint(f"# {screen.text(note)}", "dim", screen.err)
