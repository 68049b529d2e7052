"""doctor: what this machine is and has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from howdah.cli import shapes
from howdah.cli.request import Request
from howdah.cli.screen import Screen
from howdah.cli.verb import verb
from howdah.errors import Unavailable
from howdah.phrase import Phrase, say

RESULTS: Mapping[str, tuple[Phrase, str]] = {
    "pass": (say("good"), "green"),
    "warn": (say("warn"), "yellow"),
    "fail": (say("FAIL"), "red"),
    "skip": (say("skip"), "dim"),
}


@verb("doctor", example="howdah doctor")
def doctor(request: Request) -> None:
    """Tell whether this machine is fit. It looks at versions, the features that they lack, CVEs that concern them, limits and ports."""
    from howdah import compose

    request.screen.progress.tell(say("looking at this machine"))
    found = compose.doctor(request.home)
    request.screen.answer(shapes.diagnosis(found), lambda: _findings(request.screen, found))
    failed = [each.id for each in found if each.result == "fail"]
    if failed:
        raise Unavailable(
            "unfit", say("cannot call this machine fit: {names}", names=", ".join(failed)), say("each line above says what to do")
        )


def _findings(screen: Screen, found: Sequence[shapes.Diagnosis]) -> Iterator[str]:
    for each in found:
        yield f"{screen.paint(*RESULTS[each.result])}  {screen.text(each.title)}: {screen.text(each.evidence)}"
        if each.fix is not None:
            yield f"      → {screen.text(each.fix)}"
