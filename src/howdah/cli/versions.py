"""The programs of an instance in `show`: versions, what is published of them, what they lack; short for people, whole in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from howdah.cli.pages import table
from howdah.cli.screen import Screen
from howdah.core.programs import TITLES, Used, Weak, lacking, weaknesses
from howdah.phrase import Phrase, say


def shape(found: Sequence[Used]) -> list[dict[str, Any]]:
    """Return what `show --json` answers as `programs`."""
    return [_shape(each) for each in found]


def _shape(each: Used) -> dict[str, Any]:
    program = each.program
    return {
        "name": each.name,
        "version": program.version or None,
        "path": program.path or None,
        "package": program.package or None,
        "package_version": program.package_version or None,
        "running": each.running,
        "used_by": list(each.used_by),
        "weaknesses": [_weak(one) for one in weaknesses(each.name, program)],
        "lacks": [str(feature) for feature in lacking(each.name, program)],
    }


def _weak(one: Weak) -> dict[str, Any]:
    return {
        "id": one.id,
        "fixed": one.fixed,
        "consequence": str(one.consequence),
        "prevented": str(one.prevented) if one.prevented is not None else None,
        "source": one.source,
    }


def lines(screen: Screen, found: Sequence[Used]) -> Iterator[str]:
    """Return the section of `show`: one line for each program, and who tells the rest."""
    yield screen.paint(say("programs"), "bold")
    yield from (f"  {line}" for line in table([_row(screen, each) for each in found]))


def _row(screen: Screen, each: Used) -> tuple[str, ...]:
    program = each.program
    version = program.version or "?"
    known = f"{version} ({program.package_version})" if program.package_version else version
    count = len(lacking(each.name, program))
    lacks = screen.text(say("lacks {count} features", count=count)) if count else ""
    return (TITLES[each.name], known, screen.text(_harm(each)), lacks)


def _harm(each: Used) -> Phrase:
    every = weaknesses(each.name, each.program)
    harmful = [one for one in every if one.prevented is None]
    prevented = len(every) - len(harmful)
    if harmful:
        return say(
            "{count} published weaknesses concern it here, first {worst}, mended in {fixed}: howdah doctor",
            count=len(harmful),
            worst=harmful[0].id,
            fixed=harmful[0].fixed,
        )
    if prevented:
        return say("no CVE concerns it here; {count} are prevented: howdah doctor", count=prevented)
    return say("no CVE is known of it") if each.program.version else say("it does not tell its version")
